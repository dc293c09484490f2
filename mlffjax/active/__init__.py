"""Choosing data: what past frames did to a result, and what new ones would do.

``influence`` tells how each training frame pulls at a barrier (or at any differentiable number
of a potential), and checks the answer by training again without the frame.

``acquisition`` chooses which structures to label next (kinds in ``active.selection``), and
``labelling`` has them labelled by an oracle, a calculator, a teacher, or a program that runs
elsewhere (kinds in ``active.labelers`` and ``active.programs``), remembering every outcome.

Contract
    * A frame's effect is the change of the number, eV, if the frame were *left out* of training:
      positive means that the frame keeps the barrier low.
    * Predictions come with the means to test them: no influence without the rank correlation
      with retraining on a model small enough to be retrained.

Example
    >>> gradient = sensitivity.path_gradient(potential, images).params             # doctest: +SKIP
    >>> found = influence.influence(potential, train, gradient, config)            # doctest: +SKIP
    >>> np.argsort(-abs(found.left_out))[:5]                                       # doctest: +SKIP
"""
