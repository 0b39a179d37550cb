"""The folder: its files, its numbers, its page, and that it is written whole or not at all."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from mynn.errors import ArgumentError
from mynn.report import folder
from mynn.report.experiments.published import QUANTITIES
from mynn.report.experiments.runs import FIGURE4_VERSIONS
from mynn.report.folder import FILES, check_target, write_folder
from mynn.report.reproduce import files


@pytest.fixture(scope="module")
def written(tiny):
    return files(tiny)


def rows(content):
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_every_file_is_made(written):
    assert set(written) == set(FILES)
    assert all(len(content) > 500 for content in written.values())


def test_json_holds_mean_deviation_and_published_pair(written):
    data = json.loads(written["results.json"])
    table = data["table1"]
    assert set(table) == {"as_published", "as_described", "our_defaults"}
    for version in ("as_published", "as_described"):
        assert list(table[version]) == ["10", "1", "0.1", "0.01"]
    assert list(table["our_defaults"]) == ["0.01"]
    for version, columns in table.items():
        for rate, column in columns.items():
            assert set(column) == {"loss", "accuracy", "seconds"}
            for quantity, cell in column.items():
                published = QUANTITIES[quantity]
                beside = 0.1 if version == "our_defaults" else float(rate)
                assert cell["published"] == list(published[beside])
                assert len(cell["values"]) == 2
                assert cell["mean"] == pytest.approx(sum(cell["values"]) / 2)
                assert cell["deviation"] >= 0
                assert cell["lowest"] <= cell["mean"] <= cell["highest"]
                assert cell["verdict"] in {
                    "within",
                    "overlaps",
                    "differs",
                    "faster",
                    "better",
                    "worse",
                }
                assert cell["explanation"]
    assert data["settings"]["samples"] == 2
    assert data["settings"]["seed"] == 1
    assert set(data["figure4"]) == set(FIGURE4_VERSIONS)
    assert len(data["figure3"]["as_published"]["0.001"]["test_accuracy"]) == 3
    assert data["figure2"]["test_errors"] == round(10 * (100 - data["figure2"]["test_accuracy"]))


def test_csv_tables(written):
    table = rows(written["table1.csv"])
    assert len(table) == 3 * (4 + 4 + 1)
    published = {
        (row["version"], row["learning_rate"], row["quantity"]): float(row["published_mean"])
        for row in table
    }
    assert published["as_published", "0.1", "loss"] == 1.386
    assert published["as_described", "10", "accuracy"] == 87
    runs = rows(written["runs.csv"])
    assert len(runs) == 2 * (4 + 4 + 1) + 2 * 4
    curves = rows(written["curves.csv"])
    assert len(curves) == 3 * 4 + 6 * 4
    assert {row["figure"] for row in curves} == {"3", "4"}
    points = rows(written["points.csv"])
    assert len(points) == 2000
    first = points[0]
    radius = float(first["x"]) ** 2 + float(first["y"]) ** 2
    assert (radius < 0.25) == (first["inside"] == "1")


def test_figures_are_png(written):
    for name in ("figure2.png", "figure3.png", "figure4.png"):
        assert written[name].startswith(b"\x89PNG\r\n")
        width = int.from_bytes(written[name][16:20], "big")
        assert width > 1200


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.images, self.links, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in {"meta", "img", "link", "br"}:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attributes))
        self.links += [v for k, v in attributes if k in {"href", "src"} and tag != "img"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_page_is_whole_and_self_contained(written):
    page = Page()
    page.feed(written["index.html"].decode())
    assert page.open == []
    assert set(page.links) < set(FILES)
    assert len(page.images) == 3
    for image in page.images:
        head, data = image["src"].split(",", 1)
        assert head == "data:image/svg+xml;base64"
        ElementTree.fromstring(base64.b64decode(data))
        assert len(image["alt"]) > 40
    text = " ".join(" ".join(page.text).split())
    for words in (
        "As published: output layer frozen",
        "As described: all layers updated",
        "Our defaults",
        "1.386 ± 0.17",
        "2 samples of 3 epochs",
        "--seed 1",
        "times faster",
    ):
        assert words in text
    assert not re.search(r"\{\{|\}\}|nan|None", text)


def test_same_results_give_the_same_bytes(tiny, written):
    assert files(tiny) == written


# -- the folder ------------------------------------------------------------------------------------


def test_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "deep" / "out"
    write_folder(target, {"index.html": b"one", "runs.csv": b"1"})
    write_folder(target, {"index.html": b"two"})
    assert {p.name: p.read_bytes() for p in target.iterdir()} == {"index.html": b"two"}
    assert [p.name for p in target.parent.iterdir()] == ["out"]
    assert target.stat().st_mode & 0o755 == 0o755


def test_earlier_results_stay_when_writing_fails(tmp_path, monkeypatch):
    target = tmp_path / "out"
    write_folder(target, {"index.html": b"one"})

    def full(file):
        raise OSError("no space left")

    monkeypatch.setattr(folder.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_folder(target, {"index.html": b"two"})
    assert (target / "index.html").read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_folders_that_are_refused(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "file").write_text("x")
    (here / "mine").mkdir()
    (here / "mine" / "thesis.tex").write_text("x")
    for bad, message in [
        (".", "working directory"),
        ("..", "working directory"),
        ("file", "is a file"),
        ("mine", r"other files \(thesis\.tex\)"),
        ("file/inside", "cannot be made"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            check_target(folder.Path(bad))
    (here / "old").mkdir()
    (here / "old" / "results.json").write_text("{}")
    assert check_target(folder.Path("old")) == here / "old"
    assert check_target(folder.Path("new/er")) == here / "new" / "er"
    (here / "link").symlink_to(here / "old")
    assert check_target(folder.Path("link")) == here / "old"
