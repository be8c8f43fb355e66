"""Counterfactual predictive control (CFPC): an adaptive filter with a forward model at each synapse.

Source: Herreros, Arsiwalla and Verschure, "A forward model at Purkinje cell synapses facilitates cerebellar
anticipatory control", NIPS 2016.
"""

from ...facade import facade

__all__, __getattr__, __dir__ = facade(__name__)
