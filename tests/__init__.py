"""Tests of danlu; the folders mirror the package, and `proofs` holds the traps of the field by their ids."""
