"""What a model makes of a structure: features, how alike those of two models are, and pictures.

Two questions that are easily confused:

*Do two models see the same structures alike?* ``features`` evaluates each model on the *same*
structures; ``similarity`` compares the arrays, atom by atom (centred kernel alignment and
Procrustes distance, which do not care for the basis of a layer); ``drift`` does so for a model and
the foundation it came from. Only this says something about what was learned.

*Which structures does a model visit?* ``descriptors`` holds the recipe of Cao and Clancy's
"Migration Pathways as Diagnostic Probes": energies, forces, distances, SOAP and force derivatives
of a trajectory, as one vector a configuration. Distances and SOAP know nothing of the model but
where its trajectory went; on a common trajectory they are equal for all models.

``embedding`` makes pictures of either (PCA, t-SNE, UMAP) and measures how separate groups are
(silhouette with a permutation null). Distances in a t-SNE or UMAP picture are no distances:
conclusions come from ``similarity`` and from silhouettes in feature space.

Everything here runs on NumPy float64 on the host, except evaluating a potential, which is one
compiled program a shape.

Example::

    first = node_features(foundation, systems)
    second = node_features(finetuned, systems)
    linear_cka(stacked([first.layers[-1], second.layers[-1]]))[0, 1]
"""
