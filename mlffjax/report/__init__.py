"""The report of a study: one HTML file for readers, and figures for print.

``write_report(OUT)`` reads the records below ``OUT`` and writes ``OUT/report.html``, which holds
everything it needs (plotly.js included) and opens without a network. With ``figures=True`` the
paper's figures are also written as PDF and PNG to ``OUT/figures/``.

Contract
    * The report reads records (``mlffjax.study.records``) and computes no physics: means over seeds
      and differences to the reference are all it adds. It never imports jax.
    * Equal records give equal bytes, no matter when or where.
    * What is missing is said: every section without numbers gives the reason instead.
    * Names, messages and comments come from users and are escaped wherever they appear; a content
      security policy lets nothing run but the two scripts written here, and nothing be loaded.

Flow: ``figures`` and ``tables`` turn records into plain descriptions (``panels.Figure``,
``tables.Table``); ``interactive`` draws a figure with plotly, ``publication`` with matplotlib;
``document`` puts everything into ``templates/report.html.j2``. ``style`` holds all looks.

Example::

    from mlffjax.report.document import write_report

    write_report(Path("results/quickstart"), figures=True)
"""
