"""What an attacker can still infer: metrics, attackers, protocols and ceilings.

Needs the ``audit`` extra (scikit-learn).  Nothing here takes part in a fit: every attacker is trained
afresh on what was released, and has seen neither the filter nor the random choices behind a release.
"""
