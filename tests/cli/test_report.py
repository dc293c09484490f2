"""``report`` writes anew from records, and refuses a directory without any."""

import pytest

from mlffjax.cli import main
from mlffjax.report import document


def test_writes_what_the_document_module_writes(tmp_path, monkeypatch, capsys):
    calls = []

    def write_report(out, *, figures):
        calls.append((out, figures))
        return out / "report.html"

    monkeypatch.setattr(document, "write_report", write_report)
    for options, figures in (([], False), (["--figures"], True)):
        with pytest.raises(SystemExit) as stop:
            main.main(["report", str(tmp_path), *options])
        assert stop.value.code == main.OK
        assert calls.pop() == (tmp_path, figures)
        assert capsys.readouterr().out == f"report: {tmp_path / 'report.html'}\n"


def test_a_directory_without_a_study_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["report", str(tmp_path)])
    assert stop.value.code == main.REFUSED
    assert str(tmp_path) in capsys.readouterr().err
