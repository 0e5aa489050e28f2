"""Programs: generator functions that yield draws and costs.

The files, in the order in which to read them:

- what a program yields: `_statements`, `_scan`, `_plate`;
- the walk over a program, which hands each statement to a reader: `_begin`, `_walk`;
- the abstract run, which finds the sites, the costs and the credit between them: `_infos`, `_sites`, `_structure`, `_credit`;
- one sample: it is opened (`_opening`), its statements wait (`_waiting`) and are closed in reverse (`_closing`);
- a loop whose draws are summed out: `_forward`;
- all samples, in chunks: `_run`;
- `lt.explain`: `_explain`, with `_discontinuities` and `_separable`; host functions: `_black_box`.
"""

from logtrick import _lazy

__getattr__, __dir__, __all__ = _lazy.names_of_stub(__name__)
