"""Where the runs of a study are computed; ``kind`` of an executor is the name of its module.

``local`` computes in the process of the study, or in several on the same machine; ``ray`` on a Ray
cluster; ``submitit`` as jobs of Slurm.

Contract
    * A task is "bring these runs to completion": train what is not finished, then apply the probes
      (``execute.complete``). It is plain JSON data: resolved configuration, base directory, output
      directory, identifiers of runs. Whoever takes it plans the study itself and refuses if its
      plan is not that of the process that asked.
    * Results travel through records only, so the output directory must be on a file system that
      all machines share. Progress and the end of a task travel as lines of a file there.
    * Doing a task again does what is missing. A task whose process dies is tried again
      ``retries`` times; then its runs are recorded as failed and the others go on.
    * The process of the study holds the lock of the output directory, a worker those of its runs;
      it waits for whoever still writes one, such as a job that outlived its study.
    * Probes are applied where the run was trained. On CPUs there is nothing to gain from measuring
      potentials together, molecular dynamics takes longer than many a training, and the process of
      the study may sit on a machine without an accelerator. On one accelerator the default
      (``local`` with one worker) measures all potentials of a model in one call.

A module of a kind holds ``Config``, a ``_executor.Section``, and ``start(config, folder)``, a
context manager that gives an ``_executor.Executor`` and stops what still computes when it is left.
"""
