"""Running the designs of a request here or on many workers, and running a result again.

Every design has its own random stream, keyed by seed and index, so that an executor only decides
where and in which order designs are made, never what comes out.
"""
