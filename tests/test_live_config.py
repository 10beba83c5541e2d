"""The file of several cameras: what it may say, and what is said about the rest without showing a secret."""
from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from streamderain.errors import DerainError
from streamderain.live import values
from streamderain.live.address import Address
from streamderain.live.config import _CAMERA, read_config
from streamderain.live.options import (
    CHECKS,
    NETWORK,
    CameraOptions,
    PageOptions,
    camera_options,
    check_source,
    plain,
)

CANARY = "canary-hunter2"
SOURCE = f"rtsp://me:{CANARY}@cam.example/live"
IN_TMP = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    """No token from the environment of the tests."""
    monkeypatch.delenv("STREAMDERAIN_TOKEN", raising=False)


@pytest.fixture
def write(tmp_path):
    """Writes a configuration and gives its path."""

    def write_it(text):
        file = tmp_path / "cameras.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write_it


def refusal(file):
    """The one line with which a file is refused; it never holds the canary."""
    with pytest.raises(DerainError) as refused:
        read_config(file)
    line = str(refused.value)
    assert str(file) in line and "\n" not in line and CANARY not in line
    return line


# --- what may be said ---
def test_everything_that_a_camera_may_say(write):
    config = read_config(write(f"""
        [page]
        serve = "127.0.0.1:9000"
        allow_hosts = ["cams.example"]
        [defaults]
        profile = "tiny"
        strength = 0.5
        [cameras.garden-1]
        source = "{SOURCE}"
        size = "1280x720"
        rate = "30000/1001"
        pixel_format = "mjpeg"
        transport = "udp"
        strength = 1
        max_latency_ms = 250
        record = "garden.mkv"
        segment = "5:00"
        segment_size = "500M"
        keep = 3
        push = ["rtmp://a/b", "udp://c:1"]
        encoder = "libx265"
        crf = 30
        preset = "ultrafast"
        virtual_camera = true
        snapshots = "pictures"
        sound = false
        show = true
        [cameras.yard_2]
        source = 0
    """))
    assert config.page == PageOptions("127.0.0.1", 9000, allow_hosts=("cams.example",))
    assert list(config.cameras) == ["garden-1", "yard_2"]
    assert config.cameras["garden-1"] == CameraOptions(
        Address(SOURCE), (1280, 720), Fraction(30000, 1001), "mjpeg", "udp", profile="tiny", strength=1.0,
        max_latency_ms=250, show=True, record=Path("garden.mkv"), segment=300.0, segment_size=500 * 1024**2, keep="3",
        push=(Address("rtmp://a/b"), Address("udp://c:1")), encoder="libx265", crf=30, preset="ultrafast",
        virtual_camera="auto", snapshots=Path("pictures"), sound=False,
    )  # fmt: skip
    assert config.cameras["yard_2"] == CameraOptions(Address("0"), profile="tiny", strength=0.5)


def test_secrets_from_the_environment_and_from_files(write, tmp_path, monkeypatch):
    monkeypatch.setenv("CAM", SOURCE)
    monkeypatch.setenv("TARGET", f"rtmp://x:{CANARY}@y/z")
    (tmp_path / "secret").write_text("page-token\n")
    (tmp_path / "source").write_text("rtsp://other/1\n")
    config = read_config(write(f"""
        [page]
        token_file = "{tmp_path}/secret"
        [cameras.a]
        source_env = "CAM"
        push_env = ["TARGET"]
        push = "udp://h:1"
        [cameras.b]
        source_file = "{tmp_path}/source"
    """))
    assert config.cameras["a"].source.secret == SOURCE
    assert [target.scheme for target in config.cameras["a"].push] == ["udp", "rtmp"]
    assert config.cameras["b"].source.secret == "rtsp://other/1"
    assert config.page.token == "page-token"
    assert config.variables == {"CAM", "TARGET"}
    assert CANARY not in repr(config) and "page-token" not in repr(config)


def test_a_cameras_own_targets_replace_those_of_the_defaults(write):
    config = read_config(write("""
        [defaults]
        push = "udp://default:1"
        [cameras.a]
        source = "testsrc"
        [cameras.b]
        source = "testsrc"
        push = ["udp://own:1"]
    """))
    assert [str(camera.push[0]) for camera in config.cameras.values()] == ["udp://default:1", "udp://own:1"]


def test_the_usual_variable_gives_the_token_where_the_file_does_not(write, monkeypatch, tmp_path):
    monkeypatch.setenv("STREAMDERAIN_TOKEN", "usual-token")
    (tmp_path / "own").write_text("own-token")
    usual = read_config(write("[cameras.a]\nsource = 'testsrc'"))
    assert (usual.page.token, usual.variables) == ("usual-token", {"STREAMDERAIN_TOKEN"})
    own = read_config(write(f"[page]\ntoken_file = '{tmp_path}/own'\n[cameras.a]\nsource = 'testsrc'"))
    assert own.page.token == "own-token"


def test_without_a_page_table_a_free_port_is_looked_for(write):
    assert read_config(write("[cameras.a]\nsource = 'testsrc'")).page == PageOptions(next_ports=20)


# --- what is refused ---
@pytest.mark.parametrize("text, parts", [
    ("x", ["is no TOML"]),
    ("", ["has no camera", "[cameras.garden]"]),
    ("[cameras]", ["has no camera"]),
    ("cameras = 3", ["[cameras] is no table"]),
    ("[camera.a]\nsource = '0'", ["the top level", "'camera'", "'cameras'"]),
    ("[cameras.a]\nsource = '0'\n[page]\ntoken = 'canary-hunter2'", ["[page]", "'token'", "token_"]),
    ("[cameras.a]\nsource = '0'\n[page]\nserve = 'x:y'", ["[page] serve", "HOST:PORT"]),
    ("[cameras.a]\nsource = '0'\n[page]\ntoken_env = 'NO_SUCH_VARIABLE'", ["[page] token_env", "holds nothing"]),
    ("[cameras.a]\nsource = '0'\n[page]\ntoken_env = 'A'\ntoken_file = 'b'", ["[page] token_file"]),
    ("[cameras.'a b']\nsource = '0'", ["'a b'", "letters"]),
    ("[cameras.'../a']\nsource = '0'", ["'../a'"]),
    ("[cameras.a]", ["[cameras.a] source", "source_env"]),
    ("[cameras.a]\nsource = '0'\nsource_env = 'X'", ["[cameras.a] source", "source and source_env"]),
    ("[cameras.a]\nsource_env = 'NO_SUCH_VARIABLE'", ["[cameras.a] source_env", "NO_SUCH_VARIABLE"]),
    ("[cameras.a]\nsource_file = '/no/such/file'", ["[cameras.a] source_file", "cannot be read"]),
    (f"[cameras.a]\nsource = '{SOURCE}'\nrecrod = 'x'", ["[cameras.a]", "'recrod'", "'record'"]),
    (f"[cameras.a]\nsource = '{SOURCE}'\nstrength = 3", ["[cameras.a] strength", "from 0 to 2"]),
    ("[cameras.a]\nsource = '0'\nstrength = nan", ["[cameras.a] strength"]),
    ("[cameras.a]\nsource = '0'\nstrength = true", ["[cameras.a] strength"]),
    ("[cameras.a]\nsource = '0'\nsize = 'big'", ["[cameras.a] size", "1280x720"]),
    ("[cameras.a]\nsource = '0'\nprofile = 'huge'", ["[cameras.a] profile", "tiny"]),
    ("[cameras.a]\nsource = '0'\nkeep = 'some'", ["[cameras.a] keep", "7d"]),
    ("[cameras.a]\nsource = '0'\nsound = 'no'", ["[cameras.a] sound", "true"]),
    ("[cameras.a]\nsource = '0'\nonce = true\npace = true", ["[cameras.a] once", "for ever"]),
    ("[cameras.a]\nsource = '0'\nrecord = \"\"", ["[cameras.a] record"]),
    (f"[cameras.a]\nsource = '0'\nsize = '{SOURCE}'", ["[cameras.a] size"]),
    (f"[cameras.a]\nsource = '0'\n'{SOURCE}' = 1", ["has no key"]),
    (f"[cameras.'{SOURCE}']\nsource = '0'", ["will not do"]),
    (f"[cameras.a]\nsource = ['{SOURCE}']", ["[cameras.a] source", "no address"]),
    (f"[cameras.a]\nsource = '0'\npush = [1, '{SOURCE}']", ["[cameras.a] push", "no address"]),
    (f"[cameras.a]\nsource = '''\n{SOURCE}\n{SOURCE}'''", ["[cameras.a] source", "one line"]),
    (f"[cameras.a]\nsource = '{SOURCE}", ["is no TOML"]),
    ("[defaults]\nstrength = -1\n[cameras.a]\nsource = '0'", ["[defaults] strength"]),
    ("[defaults]\nsource = '0'\n[cameras.a]\nsource = '0'", ["[defaults]", "'source'"]),
    ("[cameras.a]\nsource='0'\nrecord='x'\n[cameras.b]\nsource='1'\nrecord='./x.mkv'", ["[cameras.b] record", "a go"]),
    (f"[defaults]\npush='{SOURCE}'\n[cameras.a]\nsource='0'\n[cameras.b]\nsource='1'", ["[cameras.b] push"]),
])  # fmt: skip
def test_refused_in_one_line_that_says_where(write, text, parts):
    line = refusal(write(text))
    assert [part for part in parts if part not in line] == []


@pytest.mark.skipif(os.name != "posix", reason="links want rights on Windows")
def test_two_recordings_in_one_place_are_refused_by_whatever_path(write, tmp_path):
    (tmp_path / "rec").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "rec")
    places = {"a": tmp_path / "rec" / "x.mkv", "b": tmp_path / "link" / "x.mkv"}
    text = "".join(f"[cameras.{name}]\nsource = '0'\nrecord = '{place}'\n" for name, place in places.items())
    assert "[cameras.b] record: this is where a goes" in refusal(write(text))


@IN_TMP
@hypothesis_given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=30))
def test_every_unknown_key_is_refused_with_the_nearest(write, key):
    assume(key not in _CAMERA)
    line = refusal(write(f"[cameras.a]\nsource = '{SOURCE}'\n{json.dumps(key, ensure_ascii=False)} = 1"))
    assert "[cameras.a] has no key" in line
    assert any(f"did you mean '{known}'?" in line for known in _CAMERA)


@IN_TMP
@hypothesis_given(st.sampled_from([*CHECKS]), st.recursive(
    st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text("aZ9:/@x-. \n\0"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=2), max_leaves=4,
))  # fmt: skip
def test_any_value_is_taken_or_refused_in_one_line(key, value):
    try:
        options = camera_options({"source": "0", key: value})
    except ValueError as error:
        assert str(error).startswith(f"{key}: ") and "\n" not in str(error)
    else:
        assert camera_options(json.loads(json.dumps(plain(options)))) == options


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"\xff\xfe\0")])
def test_a_file_that_cannot_be_read(write, damage):
    file = write("")
    damage(file)
    assert "cannot be read" in refusal(file)


# --- values ---
@pytest.mark.parametrize("check, given, expected", [
    (values.seconds, "10:00", 600.0), (values.seconds, "1:00:00.5", 3600.5), (values.seconds, 2, 2.0),
    (values.byte_count, "500M", 500 * 1024**2), (values.byte_count, "1.5 GB", 3 * 1024**3 // 2),
    (values.byte_count, "2GiB", 2 * 1024**3), (values.byte_count, 100, 100),
    (values.size, "640x480", (640, 480)), (values.rate, 25, Fraction(25)), (values.rate, "29.97", Fraction(2997, 100)),
    (values.serve, "8088", ("127.0.0.1", 8088)), (values.serve, 0, ("127.0.0.1", 0)),
    (values.serve, "0.0.0.0:80", ("0.0.0.0", 80)), (values.serve, "[::1]:80", ("::1", 80)),
    (values.addresses, "udp://a:1", (Address("udp://a:1"),)),
    (values.keep_bounds, 20, {"count": 20}), (values.keep_bounds, "7d", {"seconds": 7 * 86400.0}),
    (values.keep_bounds, "50G, 36h,3", {"size": 50 * 1024**3, "seconds": 36 * 3600.0, "count": 3}),
])  # fmt: skip
def test_values_that_are_taken(check, given, expected):
    assert check(given) == expected


@pytest.mark.parametrize("check, given", [
    (values.seconds, "0"), (values.seconds, "-1"), (values.seconds, "soon"), (values.seconds, True),
    (values.seconds, float("inf")), (values.byte_count, "0"), (values.byte_count, "-5M"), (values.byte_count, "lots"),
    (values.size, "640"), (values.size, "0x0"), (values.size, "99999x1"), (values.rate, "0"), (values.rate, "1/0"),
    (values.serve, "70000"), (values.serve, "a b:1"), (values.serve, "host:"), (values.serve, True),
    (values.keep, "0"), (values.keep, "7d,8d"), (values.keep, ""), (values.keep, True), (values.keep, "3,"),
    (values.keep, 20.0), (values.keep, "7.5"), (values.keep, "7d,20.0"),
    (values.path, ""), (values.path, "a\0b"), (values.text, 3),
])  # fmt: skip
def test_values_that_are_refused(check, given):
    with pytest.raises(ValueError, match=r"write|give|from"):
        check(given)


def test_the_orders_of_a_worker_are_read_back_as_they_were(write):
    options = camera_options({
        "source": SOURCE, "size": "64x48", "rate": "30000/1001", "record": "a.mkv", "push": ["udp://a:1"],
        "segment": "5:00", "segment_size": "1G", "model": "m.safetensors", "virtual_camera": True, "sound": False,
    })  # fmt: skip
    assert camera_options(json.loads(json.dumps(plain(options)))) == options


# --- sources ---
@pytest.mark.parametrize("source", ["0", "/dev/video0", "rtsp://a/b", "HTTP://a/b", "udp://@:5000", "testsrc=64x48@5"])
def test_sources_that_may_open(source):
    check_source(CameraOptions(Address(source)))


@pytest.mark.parametrize("source, pace, message", [
    (f"gopher://me:{CANARY}@x/", False, "gopher://, which is not read here; give rtsp://"),
    ("concat:a|b", False, "no camera, no address and no file"),
    ("nowhere.mp4", True, "no camera, no address and no file"),
    (__file__, False, "is a file; give --pace"),
])  # fmt: skip
def test_sources_that_never_open(source, pace, message):
    with pytest.raises(DerainError, match=message) as refused:
        check_source(CameraOptions(Address(source), pace=pace))
    assert CANARY not in str(refused.value)


def test_the_schemes_are_those_that_cameras_open():
    from streamderain.live import cameras

    assert set(NETWORK) == set(cameras._PROTOCOLS)
