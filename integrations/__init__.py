"""The only way out: the policy as data, the gate, one package per company, and their sandbox."""
