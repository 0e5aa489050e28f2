"""Distributions of other libraries as logtrick's. An adapter imports its library when it is called."""

from logtrick.adapters._distrax import from_distrax as from_distrax
from logtrick.adapters._flowjax import from_flowjax as from_flowjax
from logtrick.adapters._numpyro import from_numpyro as from_numpyro
from logtrick.adapters._numpyro_model import (
    NumPyroModel as NumPyroModel,
    from_numpyro_model as from_numpyro_model,
)
from logtrick.adapters._scipy import from_scipy as from_scipy
from logtrick.adapters._tfp import from_tfp as from_tfp
