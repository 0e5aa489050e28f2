"""Stochastic refinement of a Gaussian that fixed draws cannot resolve."""

import numpy as np

from logtrick.vi._engines._density import Density
from logtrick.vi._engines._gaussian import Gaussian
from logtrick.vi._engines._natural_newton import antithetic, finite_draws


def polish(density: Density, rng: np.random.Generator, start: Gaussian, *, steps: int = 1000, draws: int = 32, rate: float = .02, trace=None, kind='adam') -> Gaussian:
    dim = start.dim
    if kind == 'ng':
        g = start; means=[]; prec=0.; n=0
        sm = 0; sc = 0; k = 0
        for t in range(steps):
            st = finite_draws(density, g, antithetic(rng, draws, dim))
            a = 1/(10+t/4)
            b = st.shift; H = np.eye(dim)+st.curvature
            step = a*b; step *= min(1, np.sqrt(dim)*.3/max(np.linalg.norm(step),1e-300))
            w, Q = np.linalg.eigh(a*H); w = np.clip(w,-.5,.5)
            g = Gaussian(g.mean + g.scale@step, g.scale @ (Q*np.exp(.5*w))@Q.T)
            if t >= steps//4:
                sm = sm + g.mean; sc = sc + g.covariance(); k += 1
        return Gaussian(sm/k, np.linalg.cholesky(sc/k))
    # adam on (m, L) whitened by start
    m = np.zeros(dim); A = np.eye(dim)
    tri = np.tril(np.ones((dim,dim)),-1)
    logd = np.zeros(dim); L = np.zeros((dim,dim))
    params = np.zeros(2*dim+dim*dim); mu=np.zeros_like(params); nu=np.zeros_like(params)
    for t in range(steps):
        m = params[:dim]; ld = params[dim:2*dim]; Lo = params[2*dim:].reshape(dim,dim)*tri
        T = Lo + np.diag(np.exp(ld))
        g = Gaussian(start.mean + start.scale@m, start.scale@T)
        e = rng.standard_normal((draws//2,dim)); e = np.concatenate([e,-e])
        z = g.push(e); v, gr = density(z)
        gw = gr@start.scale  # grad wrt whitened x
        # STL: -dlogq/dx = T^-T e
        s = gw + np.linalg.solve(T.T, e.T).T
        gm = s.mean(0); gT = s.T@e/draws
        grad = np.concatenate([gm, np.diag(gT)*np.exp(ld), (gT*tri).ravel()])
        mu = .9*mu+.1*grad; nu=.999*nu+.001*grad**2
        lr = rate*.5*(1+np.cos(np.pi*t/steps))
        params = params + lr*(mu/(1-.9**(t+1)))/(np.sqrt(nu/(1-.999**(t+1)))+1e-8)
    m = params[:dim]; T = (params[2*dim:].reshape(dim,dim)*tri)+np.diag(np.exp(params[dim:2*dim]))
    return Gaussian(start.mean+start.scale@m, start.scale@T)
