"""Global self-attention: its arguments, the finite network, and the infinite one."""
