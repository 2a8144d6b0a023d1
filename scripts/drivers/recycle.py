"""For SQLAlchemy's suite: a pool gives up connections that are older than 120 s, as it does in applications that know of a
proxy or a `wait_timeout`. Loaded by pytest (-p recycle); the suite itself knows no option for it.
"""

import inspect

from sqlalchemy.pool import Pool

parameters = list(inspect.signature(Pool.__init__).parameters.values())
with_defaults = [p.name for p in parameters if p.default is not p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
defaults = list(Pool.__init__.__defaults__)
defaults[with_defaults.index("recycle")] = 120
Pool.__init__.__defaults__ = tuple(defaults)
