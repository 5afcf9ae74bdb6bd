-- What the container executes in POSTGRES_DB when it makes its cluster.
CREATE EXTENSION agno_bg;
\connect template1
CREATE EXTENSION agno_bg;
