"""Everything that touches the sweep folder. Import from its modules: workers load `checkpoints` alone, which is light.

`layout` knows every name; `recorder` is the one writer, `reader` reads; `inbox` carries commands to a running sweep.
"""
