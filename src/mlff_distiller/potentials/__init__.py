"""The contract ``Potential`` and what is built from it once: derivatives, analytic potentials, the ASE calculator."""
