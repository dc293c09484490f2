"""Atomic structures with their reference labels: from files on disk to index sets for training.

Everything here runs on the host with NumPy and ASE; nothing imports jax. One structure at its true
size is a ``System``; with labels and provenance it is a ``Frame``; all frames that share one
reference method, with the energies of isolated atoms, are a ``Dataset``; frames ordered along a
reaction coordinate are a ``Path``. All four are NamedTuples of arrays and plain values.

Conventions:
    units       Å, eV, eV/Å, eV/Å³; nothing else crosses this border
    cell        rows are the lattice vectors; positions may lie outside the cell (unwrapped)
    stress      full 3x3 matrix with ASE's sign, dE/dstrain / volume: negative when the cell wants
                to expand. Files may give ``REF_stress`` or ``REF_virials`` (= -stress * volume)
    energy      the one the forces are derivatives of (free energy for smeared occupations)
    order       time, image or index of a frame inside its trajectory

A label is taken from ``REF_`` keys if the frame has any, otherwise from the results ASE found in
the file, never from a mixture of the two. Wrong input is refused where it enters, by one
``InputError`` that names the file and the frame (frames count from 0). What can be judged from one
frame is judged by ``read_frames``; what needs all frames (duplicates, missing labels, units that
differ between frames) by ``datasets.load``.

Neighbouring snapshots of molecular dynamics are nearly the same structure, so a random split
measures memory rather than prediction: ``split`` cuts each trajectory into blocks in time.

Example:
    >>> from pathlib import Path
    >>> from mlffjax.structures import datasets, selection, splits
    >>> config = datasets.DataConfig(
    ...     files=("bundled:cr_sb2te3_pbe/md_*.xyz",), reference="GPAW, 300 eV", functional="PBE"
    ... )
    >>> dataset = datasets.load(config, Path())
    >>> parts = splits.split(dataset.frames, splits.SplitConfig())
    >>> wanted = selection.SelectionConfig(config_types=("aimd_600K",), count=5)
    >>> chosen = selection.select(dataset.frames, parts.train, wanted)
"""
