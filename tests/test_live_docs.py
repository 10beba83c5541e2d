"""What the documents about live cameras say is true, and the example files fit each other and the program."""
import configparser
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest

from streamderain.cli import main
from streamderain.live import supervisor
from streamderain.live.config import read_config
from streamderain.live.metrics import exposition
from streamderain.live.status import Status

DOCS = Path(__file__).resolve().parent.parent / "docs"
DOCKER = DOCS / "docker"
UNIT = DOCS / "systemd" / "streamderain.service"
LIVE, FRIGATE = ((DOCS / name).read_text(encoding="utf-8") for name in ("live.md", "frigate.md"))
CAMERA = main.get_command(click.Context(main), "camera")
OPTIONS = {text for option in CAMERA.params if isinstance(option, click.Option) for text in option.opts}
PROSE = {"live.md": LIVE, "frigate.md": FRIGATE}


def yaml(name):
    """An example file as Python values."""
    parser = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return parser.safe_load((DOCKER / name).read_text(encoding="utf-8"))


def variables(name):
    """The NAME=value lines of an example of an environment file."""
    lines = (DOCKER / f"{name}.env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


# --- what the pages say ---
def named_options(text):
    text = re.sub(r"\b(?:docker|pip|apt|openssl) [^`\n]*", "", text)  # other programs' words
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+(?![a-z-])", text)) - {"--rtsp--"}  # of a drawing


@pytest.mark.parametrize("page", PROSE)
def test_every_option_that_is_named_is_there(page):
    others = {"--profile", "--size"}  # of `streamderain bench`
    assert named_options(PROSE[page]) - OPTIONS - others == set()


def test_every_option_is_explained():
    assert OPTIONS - {"-h", "--help"} - named_options(LIVE) == set()


@pytest.mark.parametrize("page", PROSE)
def test_every_metric_that_is_named_is_counted(page):
    status = Status()
    status.add_output("push rtsp://x")
    text = exposition(status, "x").decode()
    counted = set(re.findall(r"^(streamderain_\w+?)(?:_bucket)?(?:\{| )", text, re.MULTILINE))
    counted |= {"streamderain_worker_running", "streamderain_worker_restarts_total"}  # of the supervisor
    named = set(re.findall(r"\bstreamderain_[a-z_]+\b", PROSE[page])) - {"streamderain_token"}
    assert named - counted == set()
    for ending in re.findall(r"`\.\.\.(_\w+)`", PROSE[page]):
        assert any(name.endswith(ending) for name in counted), ending


def test_every_path_of_the_page_is_served():
    pytest.importorskip("aiohttp")
    from streamderain.live import routes

    served = Path(routes.__file__).read_text(encoding="utf-8")
    named = re.findall(r"^\| `(/[^`]*)` \|", LIVE, re.MULTILINE)
    assert len(named) > 4 and [path for path in named if f'"{path}"' not in served] == []


@pytest.mark.parametrize("page", PROSE)
def test_every_link_leads_somewhere(page):
    def anchors(text):
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", PROSE[page]):
        path = DOCS / (target or page)
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), anchor


@pytest.mark.parametrize("page", PROSE)
def test_every_toml_example_is_understood(page, tmp_path, monkeypatch):
    for number, example in enumerate(re.findall(r"```toml\n(.*?)```", PROSE[page], re.DOTALL)):
        for name in re.findall(r'_env = "(\w+)"', example):
            monkeypatch.setenv(name, f"rtsp://user:secret@host{number}/{name}")
        file = tmp_path / f"{number}.toml"
        file.write_text(example)
        assert read_config(file).cameras


def test_every_key_of_the_file_is_listed():
    from streamderain.live.options import CHECKS

    listed = LIVE.partition("The keys are the options' names")[2].partition("An unknown key")[0]
    keys = set(re.findall(r"`([a-z_]{2,})`", listed))
    assert keys - set(CHECKS) == {"push_env"}
    assert set(CHECKS) - keys == {"source", "once", "show"}  # of one camera in front of one person


def test_there_is_a_place_for_measurements():
    assert LIVE.count("\n## Measured\n") == 1


# --- the files that fit together ---
@pytest.fixture
def config(monkeypatch):
    for name, value in variables("streamderain").items():
        monkeypatch.setenv(name, value or "0123456789abcdef")
    return read_config(DOCKER / "streamderain.toml")


def test_the_example_configuration_is_understood_and_holds_no_secret(config):
    assert list(config.cameras) == ["garden", "street"] and config.page.token == "0123456789abcdef"
    assert config.variables == set(variables("streamderain"))
    text = (DOCKER / "streamderain.toml").read_text(encoding="utf-8")
    assert "://" not in text and "token =" not in text and tomllib.loads(text)["page"]["token_env"]


def test_what_is_pushed_is_what_mediamtx_takes_and_hands_out(config):
    server, compose = yaml("mediamtx.yml"), yaml("compose.yaml")
    publisher, reader = server["authInternalUsers"]
    port = int(server["rtspAddress"].rpartition(":")[2])
    for name, camera in config.cameras.items():
        (push,) = camera.push
        address = urlsplit(push.secret)
        assert (address.scheme, address.port, address.path) == ("rtsp", port, f"/{name}")
        assert address.hostname in compose["services"] and address.username == publisher["user"]
        assert address.password == variables("mediamtx")["MTX_AUTHINTERNALUSERS_0_PASS"]
        assert name in server["paths"]
        for user, action in ((publisher, "publish"), (reader, "read")):
            (permission,) = user["permissions"]
            assert permission["action"] == action and re.search(permission["path"].removeprefix("~"), name)
            assert not re.search(permission["path"].removeprefix("~"), f"{name}2")


def test_nobody_can_publish_or_read_before_the_passwords_are_set():
    for user in yaml("mediamtx.yml")["authInternalUsers"]:  # an empty one would let everybody in
        assert user["user"] != "any" and re.fullmatch(r"sha256:A{43}=", user["pass"])


def test_frigate_asks_for_streams_that_are_there(config):
    server, names = yaml("mediamtx.yml"), variables("frigate")
    reader = server["authInternalUsers"][1]["user"]
    assert names["FRIGATE_READ_PASSWORD"] == variables("mediamtx")["MTX_AUTHINTERNALUSERS_1_PASS"]
    cameras = yaml("frigate.yml")["cameras"]
    assert list(cameras) == list(config.cameras)
    for name, camera in cameras.items():
        inputs = camera["ffmpeg"]["inputs"]
        (clean,) = [each for each in inputs if "detect" in each["roles"]]
        assert clean["path"] == f"rtsp://{reader}:{{FRIGATE_READ_PASSWORD}}@mediamtx:8554/{name}"
        assert sorted(role for each in inputs for role in each["roles"]) == ["detect", "record"]
        for each in inputs:
            assert set(re.findall(r"\{(\w+)\}", each["path"])) <= set(names)
        assert camera["detect"]["enabled"] is True and camera["detect"]["fps"] == 5


def test_frigates_examples_in_the_page_are_yaml():
    parser = pytest.importorskip("yaml", reason="PyYAML is not installed")
    blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```", FRIGATE, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 4
    for indent, block in blocks:
        lines = [line.removeprefix(indent) for line in block.splitlines()]
        assert isinstance(parser.safe_load("\n".join(lines)), dict)


def test_compose_is_whole_pinned_and_narrow():
    compose = yaml("compose.yaml")
    for name, service in compose["services"].items():
        assert re.search(r":(?!latest|stable)[\w.]+$", service["image"]), name
        assert (DOCKER / f"{service['env_file']}.example").exists()
        assert set(service["networks"]) <= set(compose["networks"])
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))
        assert "environment" not in service  # secrets come by env_file
        for volume in service["volumes"]:
            if isinstance(volume, str):
                source, target = volume.split(":")[:2]
                own = source.startswith("./") and not source.endswith("-config")
                assert target.startswith("/") and (source in compose["volumes"] or source.startswith(("./", "/etc")))
                assert not own or (DOCKER / source).exists()
    for name in ("streamderain", "mediamtx"):
        service = compose["services"][name]
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"] and service["mem_limit"]
    assert compose["networks"]["streams"]["internal"] is True
    assert compose["services"]["frigate"]["depends_on"] == ["mediamtx"]  # and not on a camera's health


def test_the_image_runs_without_root_and_asks_for_its_health():
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    steps = [line.split(None, 1) for line in re.sub(r"\\\n", " ", text).splitlines() if re.match(r"[A-Z]+ ", line)]
    words = dict(steps)
    assert re.search(r":(?!latest)[\w.-]+$", words["FROM"]) and words["USER"] == "10001:10001"
    assert [word for word, _ in steps].index("USER") > max(i for i, step in enumerate(steps) if step[0] == "RUN")
    assert "/health" in words["HEALTHCHECK"] and "NUMBA_CACHE_DIR=/var/cache/streamderain" in words["ENV"]
    pinned = re.search(r"torch==([\d.]+)", text)[1]
    assert f"torch=={pinned}" in (DOCS.parent / "README.md").read_text(encoding="utf-8")
    volumes = [str(volume) for volume in yaml("compose.yaml")["services"]["streamderain"]["volumes"]]
    assert "cache:/var/cache/streamderain" in volumes  # what the image may write although it is read-only
    copied = [name for word, rest in steps if word == "COPY" for name in rest.split()[:-1]]
    assert "." not in copied and all((DOCS.parent / name).exists() for name in copied)  # no passwords in the image
    arguments = shlex.split(words["CMD"].strip("[]").replace(",", " "))
    assert f"./streamderain.toml:{arguments[arguments.index('--config') + 1]}:ro" in volumes
    assert {word for word in arguments if word.startswith("--")} <= OPTIONS


# --- the unit ---
@pytest.fixture
def service():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    return parser["Service"]


def test_the_unit_is_narrow_and_stops_in_order(service):
    expected = {"DynamicUser": "yes", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes",
                "KillSignal": "SIGTERM", "Restart": "always", "CapabilityBoundingSet": ""}
    assert {name: service[name] for name in expected} == expected
    assert int(service["TimeoutStopSec"]) > supervisor.CLOSE_SECONDS
    assert service["MemoryMax"] and "NUMBA_CACHE_DIR=%C/streamderain" in service["Environment"]
    assert service["CacheDirectory"] == service["StateDirectory"] == "streamderain"


def test_the_units_command_is_one_that_exists(service):
    words = shlex.split(service["ExecStart"])
    assert words[1] == "camera" and {word for word in words if word.startswith("--")} <= OPTIONS


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_understands_the_unit(tmp_path):
    text = UNIT.read_text(encoding="utf-8").replace("/opt/streamderain/bin/streamderain", "/bin/true")
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert ours == []


# --- secrets ---
@pytest.mark.parametrize("path", sorted(path for path in DOCS.rglob("*") if path.suffix != ".png" and path.is_file()),
                         ids=lambda path: path.name)
def test_no_document_holds_a_password(path):
    text = path.read_text(encoding="utf-8")
    words = {urlsplit(address).password for address in re.findall(r"[a-z]+://[^\s\"'`,\])]+@[^\s\"'`,\])]+", text)}
    assert {word for word in words if word} <= {
        "PASSWORD", "PUBLISH_PASSWORD", "READ_PASSWORD", "{FRIGATE_READ_PASSWORD}", "{FRIGATE_CAMERA_PASSWORD}", "***"
    }
