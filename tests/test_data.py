"""The corpora that are read from the disk or fetched, `manuals` and `shakespeare`, and their cache."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import course.data.cache as cache
from course.__main__ import main
from course.data import manuals as read_manuals
from course.data import shakespeare as read_shakespeare
from course.data import tales

# `course.data.manuals` is the function; the modules of those names are reached here.
MANUALS = sys.modules["course.data.manuals"]
SHAKESPEARE = sys.modules["course.data.shakespeare"]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """The cache folder, empty and not yet there; no folder named by the environment."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(cache, "folder", lambda: folder)
    monkeypatch.delenv("TINYLLM_DATA", raising=False)
    return folder


def test_the_manuals_are_the_stored_ones_for_the_locked_versions(empty_cache):
    installed = {name: MANUALS.version(name).partition("+")[0] for name in MANUALS.VERSIONS}
    if installed != MANUALS.VERSIONS:
        pytest.skip(f"the stored sha256 is for {MANUALS.VERSIONS}, not for {installed}")
    first = read_manuals()
    assert hashlib.sha256(first.encode()).hexdigest() == MANUALS.SHA256
    assert 5e6 < len(first) < 7e6
    assert "Computes scaled dot product attention" in first, "what torch documents in C++ is missing"
    assert [path.name for path in empty_cache.iterdir()] == [f"manuals-{MANUALS.SHA256[:8]}.txt"]
    assert read_manuals() == first, "the kept copy differs from the text read"


def test_manuals_of_other_versions_come_with_a_note(empty_cache, monkeypatch, tmp_path):
    package = tmp_path / "torch"
    package.mkdir()
    (package / "nn.py").write_text('"""Layers."""')
    spec = type("Spec", (), {"submodule_search_locations": [str(package)]})
    monkeypatch.setattr(MANUALS, "find_spec", lambda name: spec)
    monkeypatch.setattr(MANUALS, "version", lambda name: "9.9.9+cpu")
    with pytest.warns(UserWarning, match="not quite the book's.*'torch': '9.9.9'"):
        assert read_manuals() == "Layers.\n"
    assert not empty_cache.exists(), "an unknown text was kept under the known one's name"


def test_docstrings_are_read_once_each_wherever_they_stand(tmp_path):
    (tmp_path / "a.py").write_text(textwrap.dedent('''
        """Module."""
        raise SystemExit("never run: the source is only parsed")
        class A:
            """Class.

            Second\\d line.
            """
            if True:
                def method(self):
                    """Method."""
        add_docstr(all, r"""
        all(input)

        Keyword args:
            {out}
        """.format(**common_args))
        text = """Not a docstring.
        """
    '''))
    windows = b'"""Class.\r\n\r\nSecond\\d line.\r\n"""\r\ndef f():\r\n    """%(Artist)s"""\r\n'
    (tmp_path / "b.py").write_bytes(windows)
    found = MANUALS.read_docstrings([tmp_path]).rstrip("\n").split("\n\n\n")
    assert sorted(found) == ["Class.\n\nSecond\\d line.", "Method.", "Module.", "all(input)\n\nKeyword args:"]


@pytest.mark.parametrize("path", ["tests/a.py", "_vendor/a.py", "version.py", "__config__.py"])
def test_tests_vendored_code_and_generated_files_are_left_out(tmp_path, path):
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_text('"""Something."""')
    assert MANUALS.read_docstrings([tmp_path]) == "\n"


class Server:
    """A server on this machine that sends each of the given answers once, then stalls within one."""

    def __init__(self, *answers: bytes):
        left = list(answers)
        self.stalled = stalled = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                stall = not left
                body = left.pop(0) if left else b"half"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body) + stall))
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()
                if stall:
                    stalled.set()
                    time.sleep(300)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{SHAKESPEARE.NAME}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.server.shutdown()


@pytest.fixture
def play(empty_cache, monkeypatch):
    """A short text that stands for the plays, with its hash in place of theirs."""
    text = b"To fetch, or not to fetch.\n"
    monkeypatch.setattr(SHAKESPEARE, "SHA256", hashlib.sha256(text).hexdigest())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return text


def test_shakespeare_is_fetched_once_and_kept(play, empty_cache, monkeypatch):
    with Server(play) as server:
        monkeypatch.setattr(SHAKESPEARE, "URL", server.url)
        assert read_shakespeare() == play.decode()
        assert read_shakespeare() == play.decode(), "the second time needs no server"
    assert [path.name for path in empty_cache.iterdir()] == [SHAKESPEARE.NAME]


def test_the_folder_that_tinyllm_data_names_comes_first(play, tmp_path, monkeypatch):
    (tmp_path / SHAKESPEARE.NAME).write_bytes(play)
    monkeypatch.setenv("TINYLLM_DATA", str(tmp_path))
    monkeypatch.setattr(cache, "fetch", lambda *_: pytest.fail("fetched what was there"))
    assert read_shakespeare() == play.decode()


def test_a_damaged_copy_is_reported_and_fetched_again(play, empty_cache, monkeypatch):
    empty_cache.mkdir()
    kept = empty_cache / SHAKESPEARE.NAME
    kept.write_bytes(play[:9])
    with Server(play) as server:
        monkeypatch.setattr(SHAKESPEARE, "URL", server.url)
        with pytest.warns(UserWarning, match="is damaged and not used"):
            assert read_shakespeare() == play.decode()
    assert kept.read_bytes() == play


def test_a_damaged_download_is_reported_and_fetched_again(play, monkeypatch):
    with Server(play[:9], play) as server:
        monkeypatch.setattr(SHAKESPEARE, "URL", server.url)
        with pytest.warns(UserWarning, match="was damaged, fetching again"):
            assert read_shakespeare() == play.decode()


@pytest.mark.filterwarnings("ignore:what came from")
def test_a_download_that_stays_damaged_is_never_used(play, empty_cache, monkeypatch):
    with Server(b"a login page", b"a login page") as server:
        monkeypatch.setattr(SHAKESPEARE, "URL", server.url)
        with pytest.raises(ConnectionError, match="does not match the known hash"):
            read_shakespeare()
    assert not empty_cache.exists()


def test_without_a_network_the_message_says_from_where_and_what_to_do(play, monkeypatch):
    with Server() as server:
        url = server.url
    server.server.server_close()
    monkeypatch.setattr(SHAKESPEARE, "URL", url)
    with pytest.raises(ConnectionError) as error:
        read_shakespeare()
    for part in (url, SHAKESPEARE.NAME, "TINYLLM_DATA", "`tales` and `manuals`"):
        assert part in str(error.value)


@pytest.mark.parametrize("obstacle", ["read-only", "a file"])
def test_a_cache_that_cannot_be_written_costs_only_time(play, empty_cache, monkeypatch, obstacle):
    if obstacle == "a file":  # root may write into any folder, so this one also holds for root
        empty_cache.write_text("not a folder")
    else:
        empty_cache.mkdir(mode=0o500)
    with Server(play, play) as server:
        monkeypatch.setattr(SHAKESPEARE, "URL", server.url)
        assert read_shakespeare() == play.decode()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_an_interrupted_download_leaves_nothing(tmp_path):
    code = textwrap.dedent("""
        import pathlib, sys
        import course.data.cache as cache
        from course.data import shakespeare
        cache.folder = lambda: pathlib.Path(sys.argv[2]) / "cache"
        sys.modules["course.data.shakespeare"].URL = sys.argv[1]
        print("ready", flush=True)
        shakespeare()
    """)
    environment = os.environ | {"TMPDIR": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    environment.pop("TINYLLM_DATA", None)
    with Server() as server:
        child = subprocess.Popen(
            [sys.executable, "-c", code, server.url, str(tmp_path)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        assert child.stdout.readline() == "ready\n"
        while not server.stalled.wait(0.05) and child.poll() is None:  # until it is in the middle of the download
            pass
        child.send_signal(signal.SIGINT)
        errors = child.communicate(timeout=280)[1]
    assert "KeyboardInterrupt" in errors
    assert list(tmp_path.rglob("*")) == []


def test_shakespeare_is_the_text_that_everyone_quotes():
    try:
        text = read_shakespeare()
    except ConnectionError as error:
        pytest.skip(str(error))
    assert (len(text), len(set(text))) == (1_115_394, 65)
    assert text.startswith("First Citizen:\nBefore we proceed any further, hear me speak.")


# ---------------------------------------------------------------------------------------- the command


def test_the_command_prints_a_text_and_nothing_else(play, tmp_path, monkeypatch, capfdbinary):
    assert main(["data", "tales", "--size", "3000", "--seed", "7"]) == 0
    assert capfdbinary.readouterr() == (tales(3000, seed=7).encode(), b"")
    (tmp_path / SHAKESPEARE.NAME).write_bytes(play)
    monkeypatch.setenv("TINYLLM_DATA", str(tmp_path))
    assert main(["data", "shakespeare"]) == 0
    assert capfdbinary.readouterr() == (play, b"")
    monkeypatch.setattr("course.data.manuals", lambda: "§ 1\r\n")
    assert main(["data", "manuals"]) == 0
    assert capfdbinary.readouterr() == ("§ 1\r\n".encode(), b""), "a system's own letters and line ends"


@pytest.mark.parametrize("size", ["0", "-5"])
def test_the_command_refuses_a_size_that_is_none(capsys, size):
    assert main(["data", "tales", "--size", size]) == 1
    assert capsys.readouterr() == ("", f"error: size must be at least 1 character, got {size}\n")


@pytest.mark.parametrize("arguments", [[], ["novels"], ["manuals", "--size", "5"], ["tales", "--size", "x"]])
def test_the_command_knows_what_it_can_print(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(["data", *arguments])
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and not out and "usage: " in err


def test_the_command_says_why_there_is_no_download(play, monkeypatch, capsys):
    def unreachable(*_):
        raise ConnectionError("no network")

    monkeypatch.setattr(cache, "fetch", unreachable)
    assert main(["data", "shakespeare"]) == 1
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: Tiny Shakespeare cannot be had: no network")


@pytest.mark.skipif(os.name == "nt", reason="pipes break in another way there")
def test_a_reader_that_has_enough_is_no_error():
    command = [sys.executable, "-m", "course", "data", "tales", "--size", "100"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    assert child.communicate()[1] == b"" and child.returncode == 1


def test_a_text_can_be_piped_into_training(tmp_path):
    sizes = {"vocab_size": 270, "block_size": 8, "n_layer": 1, "n_head": 1, "d_model": 8}
    config = {"model": sizes, "training": {"n_steps": 2, "batch_size": 2}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    python = f'"{sys.executable}" -m'
    train = f"{python} tinyllm.train --data - --config config.json --out out"
    command = f"{python} course data tales --size 2000 | {train}"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == "" and json.loads(done.stdout)["step"] == 2
