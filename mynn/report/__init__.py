"""The experiments of the report: data, runs, tables, figures, and the page that shows them.

published.py    what the report says
data.py         the disc, a training and a test set for each sample
networks.py     the networks, in the versions that are compared
experiments.py  everything that is trained
statistics.py   means, deviations, verdicts
tables.py       results as JSON, CSV and rows for people
figures.py      figures 2, 3 and 4
page.py         the HTML page
folder.py       a folder that is written whole or not at all
reproduce.py    all of it, in order
"""
