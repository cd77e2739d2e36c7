"""Faster forms of SAC's and CQL's update, each tested equal to the readable one; a reader of CQL may skip this folder.

`agents.SACAgent.update` and `agents.CQLAgent.update` say what is computed. Here the same numbers come out sooner:

- `fused.FusedUpdate` makes an update of one agent, or of many at once, with gradients written out by hand.
  ``fit(..., fast=True)`` and the command ``train`` use it by `fused.FasterUpdate`, `fit_population` by blocks.
- `stacked_networks` holds the layers of many networks, forward and backward, and Adam's step on them.
- `reference.StackedAutograd` is the same stacked update by automatic differentiation: what `FusedUpdate` is, without
  what makes it fast. The tests hold both equal to the readable update.
- `as_built` says whether an agent still is what the faster forms repeat. They refuse any other by name.
- `cuda_graph.GraphRunner` captures the stacked update as a CUDA graph. It has not yet been run on a GPU.

**Letters of shapes.** M members, E critics of each, G = M E networks, B transitions, K candidates a state, H hidden
units, R rows of any kind, S and A the widths of observations and actions.

**Where the time goes.** A critic sees B (1 + K) rows, everything else B: nine tenths of an update are three matrix
products a layer of the critics, ``X W``, ``X^T G`` and ``G W^T``. They cannot be left out. What can is the rest:

1. *No gradient that nobody reads.* The critics' step needs none at the candidates, the actor's none at the critics'
   parameters.
2. *No memory asked for anew.* Activations lie in buffers that are made once. Going back, each is overwritten by its own
   gradient (`Networks.back`): the ReLU's gradient needs the activation's sign alone, and nothing reads it after that.
   The target critics share the buffers of the critics, as the two are never needed at once.
3. *A chunk of states at a time*, forward and back, so that what the backward pass reads is still in a core's cache. A
   GPU wants all states at once.
4. *The first layer in two parts.* ``[s, a] W = s W_s + a W_a``: the part of the observation is computed once a state,
   not once a candidate, and its gradient is the sum over the state's candidates.
5. *The last layer left out of every row.* It has one output, ``q = h w + b``, so ``dL/dh = dL/dq w^T`` only scales the
   columns by w. We go back without w, with the layer below already scaled by it, and multiply the weights' gradients by
   w once (`Networks.finish`). ReLU is homogeneous, ``relu(c x) = c relu(x)`` for c >= 0, so the gradient of w is
   ``sum_i (W_ij G_ij)`` of the layer below, G its gradient without w: no product of its own.
6. *One step of Adam for all tensors* that share step size, weight decay and steps taken.

**What must hold.** A chunk's activations are spent when it has been worked through: only sums stay. The bias is added
with the first part of a split layer, and so is its gradient. A single agent's tensors are used where they lie; those
of several are stacked, trained as a stack, and written back by `FusedUpdate.write_back`. In float64 all forms agree to
1e-9 over a hundred updates; in float32 to rounding.
"""
