"""Everything that touches the sweep folder.

`layout` knows every name; `recorder` is the one writer, `reader` reads; `inbox` carries commands to a running
sweep. Import from these modules: workers load `checkpoints` alone, which is light.
"""
