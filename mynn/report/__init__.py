"""The experiments of the report: data, runs, tables, figures, and the page that shows them.

toolbox/                   the report's own tools: model, linear, sigmoid, criterion_mse...
experiments/published.py   what the report says
experiments/data.py        the disc, a training and a test set for each sample
experiments/networks.py    the networks, in the versions that are compared
experiments/runs.py        everything that is trained
experiments/statistics.py  means, deviations, verdicts
page/tables.py             results as JSON, CSV and rows for people
page/figures.py            figures 2, 3 and 4
page/page.py               the HTML page
folder.py                  a folder that is written whole or not at all
reproduce.py               all of it, in order
"""
