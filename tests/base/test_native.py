import shutil
import stat

import pytest

from danlu.base import native

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in native.COMPILERS), reason="no C compiler here"
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(native.Path, "home", classmethod(lambda cls: tmp_path / "home"))
    (tmp_path / "home").mkdir()
    forget()
    yield tmp_path / "home"
    forget()


def forget() -> None:
    native.load.cache_clear()
    native.cache_folder.cache_clear()


@pytest.fixture
def twice(tmp_path):
    source = tmp_path / "twice.c"
    source.write_text("int twice(int x) { return 2 * x; }\n")
    return source


@needs_compiler
def test_a_source_is_compiled_once_and_kept(home, twice):
    library, reason = native.load(twice)
    assert library.twice(21) == 42
    assert reason.startswith("compiled by ")
    (kept,) = (home / ".cache" / "danlu" / "native").iterdir()
    first = kept.stat()
    forget()
    assert native.load(twice)[0].twice(4) == 8
    assert kept.stat().st_mtime_ns == first.st_mtime_ns


@needs_compiler
def test_another_source_is_another_library(home, twice):
    native.load(twice)
    twice.write_text("int twice(int x) { return 2 * x + 1; }\n")
    native.load.cache_clear()
    assert native.load(twice)[0].twice(4) == 9
    assert len(list((home / ".cache" / "danlu" / "native").iterdir())) == 2


@needs_compiler
def test_what_cannot_be_compiled_is_said(home, tmp_path):
    source = tmp_path / "broken.c"
    source.write_text("int twice(int x) { return 2 * y; }\n")
    library, reason = native.load(source)
    assert library is None
    assert "broken.c" in reason
    assert not list((home / ".cache" / "danlu" / "native").glob("*.so"))


def test_without_a_compiler_there_is_no_library(home, twice, monkeypatch):
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    assert native.load(twice) == (None, "no C compiler here")


def test_a_folder_that_others_may_write_to_is_not_used(home):
    folder = native.cache_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for opened in (folder, folder.parent):  # who may write there may also put another folder in its place
        opened.chmod(0o777)
        forget()
        other = native.cache_folder()
        assert other != folder
        assert stat.S_IMODE(other.stat().st_mode) == 0o700
        opened.chmod(0o700)


@needs_compiler
def test_a_torn_library_is_made_again(home, twice):
    native.load(twice)
    (kept,) = (home / ".cache" / "danlu" / "native").iterdir()
    kept.unlink()
    kept.write_bytes(b"torn")
    forget()
    assert native.load(twice)[0].twice(4) == 8


@needs_compiler
def test_a_user_without_a_home_has_the_library_too(twice, monkeypatch):
    def no_home(cls):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(native.Path, "home", classmethod(no_home))
    forget()
    assert native.load(twice)[0].twice(4) == 8
    forget()


@needs_compiler
def test_a_compiler_without_openmp_compiles_without_threads(home, twice, monkeypatch):
    monkeypatch.setattr(native, "THREADS", ("-fno-such-thing", ""))
    assert native.load(twice)[0].twice(4) == 8
