"""Long work in blocks: one store of finished blocks, one executor that computes the others.

A block is the unit of resumption. Assimilation, maps and training keep their blocks in a
:class:`~proda.blocks.store.BlockStore`; an :class:`~proda.blocks.executor.Executor` computes blocks
that do not depend on each other, in this process, in several, or on a Dask cluster.
"""
