"""What is made of a benchmark's reports: tables, plot, the README's table and the page that explains them."""
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench_run import RUN, a_run, keys_of

from streamderain.bench import plot, tables

ROOT = Path(__file__).resolve().parent.parent
SPEED_PAGE = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
SPEED = json.loads((ROOT / "docs" / "speed.json").read_text(encoding="utf-8"))
DOCUMENT = {"command": "streamderain bench --size 64x48", "runs": [RUN]}
SCRIPT = ROOT / "benchmarks" / "speed_table.py"


@pytest.fixture(scope="module")
def speed_table():
    spec = importlib.util.spec_from_file_location("speed_table", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def column(table, name):
    return [row[list(table.head).index(name)] for row in table.rows]


def test_every_table_is_rectangular():
    for table in tables.all_tables([RUN, a_run(size=[64, 48], network={"weights": "fresh"})]):
        assert {len(row) for row in table.rows} == {len(table.head)}, table.title


def test_network_table_has_each_comparison():
    table = tables.network([a_run(network={"weights": "fresh"})])
    assert table.rows == [(
        "640x480", "tiny (untrained)", "eager bf16", "5.00", "7.50", "10.0", "500", "100x (50.0x in fp32)", "250",
        "50.0x", "2.50", "2.00x",
    )]  # fmt: skip


def test_published_network_that_fell_back_is_marked():
    run = a_run(network={"backend": "tensorrt"})
    assert column(tables.network([run]), "NLCL alike ms") == ["250 (eager)"]
    run = a_run(network={"precision": "int8"})
    assert column(tables.summary([run]), "same backend and precision") == ["50.0x as fast (bf16)"]


def test_copies_without_an_ffmpeg_program():
    run = a_run()
    for gone in ("without_network_over_ffmpeg", "whole_over_ffmpeg"):
        del run["copies"]["ratios"][gone]
    del run["copies"]["ffmpeg"]
    table = tables.copies([run, RUN])
    assert column(table, "ffmpeg") == ["-", "20.0"]
    assert column(table, "times ffmpeg") == ["-", "1.50x"]
    assert "libx264 crf 18 preset veryfast" in table.title


@pytest.mark.parametrize(
    "energy, shown",
    [(None, "not readable here"), ({"package-0": 1.2345, "gpu cuda": 20.0}, "package-0 1.23, gpu cuda 20")],
)
def test_energy_is_read_or_said_not_to_be_readable(energy, shown):
    (row,) = tables.memory([a_run(path={"energy": energy})]).rows
    assert row[-1] == shown


def test_stages_of_another_device_have_columns_of_their_own():
    other = a_run(end_to_end={"ms_per_stage": {"decode": 2.0, "upload": 0.25}})
    table = tables.stages([RUN, other])
    assert column(table, "decode") == ["1.00", "2.00"]
    assert column(table, "upload") == ["-", "0.25"]
    assert column(table, "subtract") == ["5.00", "-"]


def test_gpu_search_stands_beside_that_of_the_cpu():
    assert column(tables.search([a_run(search={"gpu": {"ms": 0.31}})]), "on the GPU ms") == ["0.31"]
    assert column(tables.search([RUN]), "on the GPU ms") == ["-"]


@pytest.mark.parametrize("value, shown", [(0.0123, "0.01"), (9.87, "9.87"), (12.34, "12.3"), (1234.5, "1234")])
def test_numbers_have_about_three_figures(value, shown):
    assert tables.number(value) == shown


def test_markdown_page_has_all_tables_and_the_machine():
    page = tables.report(DOCUMENT)
    assert all(f"## {table.title}\n\n| " in page for table in tables.all_tables([RUN]))
    assert "Measured by `streamderain bench --size 64x48` on A Processor, 2 cores; Linux x86_64, Python 3.11.0" in page


def bars(runs):
    root = ElementTree.fromstring(plot.plot(runs))
    rectangles = [each for each in root.iter() if each.tag.endswith("rect")]
    return [(each.get("fill"), float(each.get("x", 0)), float(each.get("width"))) for each in rectangles]


def test_plot_is_xml_whose_bars_grow_with_the_figures():
    runs = [a_run(path={"fps": fps}, end_to_end={"fps": fps / 2}) for fps in (0.3, 4.0, 400.0)]
    widths = [width for fill, x, width in bars(runs) if fill == plot.IN_MEMORY and x == plot.LEFT][1:]  # [0]: legend
    assert len(widths) == 3 and widths == sorted(widths) and widths[0] < widths[2] / 2
    assert max(widths) <= plot.WIDTH - plot.LEFT - plot.RIGHT


def test_stages_fill_their_bar_in_proportion():
    network = [width for fill, _, width in bars([RUN]) if fill == plot.COLOURS["network"]][-1]
    assert network / (plot.WIDTH - plot.LEFT - plot.RIGHT) == pytest.approx(14 / 25, abs=0.01)


def test_plot_shows_names_as_they_are():
    root = ElementTree.fromstring(plot.plot([a_run(network={"profile": "<b>&mine"})]))
    assert any("<b>&mine, 640x480" in (each.text or "") for each in root.iter())


def test_readme_has_the_table_of_the_committed_figures(speed_table):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{speed_table.BEGIN}\n{speed_table.section(SPEED)}{speed_table.END}" in readme


def test_committed_plot_is_that_of_the_committed_figures():
    assert (ROOT / "docs" / "speed.svg").read_text(encoding="utf-8") == plot.plot(SPEED["runs"])


def test_committed_figures_have_what_a_report_has():
    for run in SPEED["runs"]:
        assert keys_of(RUN) - keys_of(run) <= {"ffmpeg", "without_network_over_ffmpeg", "whole_over_ffmpeg"}


def test_speed_page_explains_every_key():
    unexplained = {key for key in keys_of(DOCUMENT) - {"crf", "preset"} if f"`{key}`" not in SPEED_PAGE}
    assert unexplained == set()


def run_script(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)


def test_script_prints_the_table_and_writes_it_where_it_belongs(tmp_path, speed_table):
    source, page = tmp_path / "bench.json", tmp_path / "page.md"
    source.write_text(json.dumps(DOCUMENT))
    page.write_text(f"before\n{speed_table.BEGIN}\nold \\1\n{speed_table.END}\nafter\n")
    printed = run_script(source)
    assert printed.returncode == 0 and printed.stdout == speed_table.section(DOCUMENT)
    assert run_script(source, "--write", page).returncode == 0
    assert page.read_text() == f"before\n{speed_table.BEGIN}\n{printed.stdout}{speed_table.END}\nafter\n"


def test_script_refuses_a_page_without_a_place(tmp_path):
    source, page = tmp_path / "bench.json", tmp_path / "page.md"
    source.write_text(json.dumps(DOCUMENT))
    page.write_text("nothing\n")
    done = run_script(source, "--write", page)
    assert done.returncode == 1 and "has no place for the table" in done.stderr
    assert page.read_text() == "nothing\n"


def test_speed_page_names_commands_that_are_there():
    from streamderain.cli.bench import command

    own = {text for option in command.params for text in option.opts}
    lines = re.findall(r"^ {4}streamderain bench (.*)$", SPEED_PAGE, re.MULTILINE)
    assert lines and set(re.findall(r"--[a-z]+", " ".join(lines))) <= own


def targets(runs):
    spec = importlib.util.spec_from_file_location("targets", ROOT / "benchmarks" / "targets.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["targets"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    table = module.table(runs)
    return {(row[0], row[1]): row[4:] for row in table.rows}


def test_targets_of_a_gpu_take_the_backend_that_came_nearest():
    hd = {"size": [1920, 1080], "device": "cuda", "search": {"gpu": {"ms": 0.5}}}
    fp16 = {"profile": "realtime", "precision": "fp16"}
    runs = [
        a_run(**hd, network=fp16 | {"backend": backend, "ms": ms}, path={"fps": fps})
        for backend, ms, fps in (("eager", 3.0, 260.0), ("tensorrt", 0.6, 240.0))
    ]
    found = targets(runs)
    assert found["network alone, 1080p", "realtime"] == ("0.60 ms", "tensorrt fp16", "goal")
    assert found["whole path without codecs, 1080p", "realtime"] == ("260 fps", "eager fp16", "target")
    assert found["search, 1080p, k 8", "realtime"][2] == "target"
    assert found["compiled against eager, 1080p", "realtime"][::2] == ("1.50x", "no")
    assert found["whole path without codecs, 4K", "realtime"] == ("not measured", "-", "-")


def test_targets_of_a_cpu():
    found = targets([RUN, a_run(size=[1920, 1080])])
    assert found["file to file, 640x480", "tiny"] == ("30.0 fps", "eager bf16", "no")
    assert found["published NLCL as published, 640x480", "tiny"] == ("100x", "eager bf16", "no")
    assert found["all but the network over FFmpeg's copy, 1080p", "tiny"] == ("1.50x", "eager bf16", "target")
    assert not any("search" in what for what, _ in found)
