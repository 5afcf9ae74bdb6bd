-- Functions as tools: what names stand for, what a model is told of them, what is
-- refused, and calls without a model.

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN cents AS bigint CHECK (VALUE >= 0);
COMMENT ON DOMAIN cents IS 'an amount in cents';
CREATE TYPE place AS (city text, zip integer);
COMMENT ON COLUMN place.city IS 'its name';
CREATE SCHEMA shop;

CREATE FUNCTION order_status(order_id integer) RETURNS text LANGUAGE sql STABLE
	AS $$ SELECT 'order ' || order_id || ' is on its way' $$;
COMMENT ON FUNCTION order_status IS 'Where an order is.
Args:
    order_id: the number on the invoice';

CREATE FUNCTION shop.everything(a smallint, b bigint, c numeric, d boolean,
	e mood, f cents, g text[], h place, i date, j time, k timestamptz, l uuid,
	m jsonb, n interval, o bytea, p varchar DEFAULT 'x', q integer[] DEFAULT NULL,
	VARIADIC r text[] DEFAULT '{}')
RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT jsonb_build_array(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r)
$$;

SELECT jsonb_pretty(agno_describe_tool('order_status'));
SELECT jsonb_pretty(agno_describe_tool('shop.everything') -> 'parameters');
SELECT agno_call_tool('order_status', '{"order_id": 42}');
SELECT agno_call_tool('shop.everything', '{"a": 5.0, "b": 9007199254740993,
	"c": 1.50, "d": true, "e": "happy", "f": 10, "g": ["x", "y,z"],
	"h": {"city": "Rome", "zip": 100}, "i": "2026-01-02", "j": "10:00",
	"k": "2026-01-02T10:00:00Z", "l": "00000000-0000-0000-0000-000000000001",
	"m": {"n": 5.0}, "n": "1 day", "o": "\\x01", "p": null, "q": [1.0, 2]}');
SELECT agno_call_tool('shop.everything', '{"a": 1}');

-- Numbers within arrays and composites, and arrays of any number of dimensions
CREATE TYPE trip AS (places place[], costs integer[], note jsonb, cents cents);
CREATE FUNCTION travel(trips trip[], one trip DEFAULT NULL, n bigint DEFAULT NULL)
	RETURNS text LANGUAGE sql AS $$ SELECT trips::text || coalesce(one::text, '-') || coalesce(n::text, '-') $$;
SELECT agno_call_tool('travel', '{"trips": [{"places": [{"zip": 5.0, "city": "x"}], "costs": [1.0, 2e0],
	"note": {"n": 5.0}, "cents": 7.0}], "one": {"places": []}, "n": 50e-1}');
SELECT agno_call_tool('travel', '{"trips": [{"costs": [1.5]}]}');
CREATE FUNCTION total(m integer[]) RETURNS integer LANGUAGE sql
	AS $$ SELECT 10 * array_ndims(m) + sum(x)::integer FROM unnest(m) x $$;
SELECT agno_call_tool('total', '{"m": [1, 2]}');
SELECT agno_call_tool('total', '{"m": [[1, 2], [3, 4]]}');
INSERT INTO agno.tools (tool, function, parameters) VALUES ('matrix', 'total', '{"type": "object",
	"properties": {"m": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}}}');
SELECT agno_call_tool('matrix', '{"m": [[1, 2.0], [3, 4]]}');

-- What a model is told of domains, wherever they are
CREATE DOMAIN price AS cents;
CREATE DOMAIN net_price AS price;
COMMENT ON DOMAIN net_price IS 'in cents, without taxes';
CREATE TYPE item AS (name text, net net_price, gross price);
CREATE FUNCTION sell(p price, ps price[], i item[], since interval[]) RETURNS void LANGUAGE sql AS $$ $$;
SELECT jsonb_pretty(agno_describe_tool('sell') -> 'parameters' -> 'properties');

-- Null means left out if there is a default, whatever the schema requires
CREATE FUNCTION defaults(a integer, b integer DEFAULT 2, c text DEFAULT 'c') RETURNS text
	LANGUAGE sql AS $$ SELECT concat_ws(' ', a, b, c) $$;
INSERT INTO agno.tools (tool, function, parameters) VALUES ('all_of_them', 'defaults', '{"type": "object",
	"properties": {"a": {"type": "integer"}, "b": {"type": ["integer", "null"]}, "c": {"type": ["string", "null"]}},
	"required": ["a", "b", "c"], "additionalProperties": false}');
SELECT agno_call_tool('defaults', '{"a": 1, "b": null, "c": null}'), agno_call_tool('all_of_them', '{"a": 1, "b": null, "c": null}'),
	agno_call_tool('all_of_them', '{"a": 1, "c": "x"}');
SELECT agno_call_tool('defaults', '{"a": null}');
SELECT agno_call_tool('all_of_them', '{"b": 1, "c": "x"}');

-- A comment of very many lines
DO $$ BEGIN EXECUTE format('COMMENT ON FUNCTION defaults IS %L', E'Args:\n a: x\n' || repeat(E'  y\n', 100000)); END $$;
SELECT length(agno_describe_tool('defaults') #>> '{parameters,properties,a,description}');
COMMENT ON FUNCTION defaults IS NULL;

-- Results
CREATE FUNCTION t_void() RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION t_null() RETURNS text LANGUAGE sql AS $$ SELECT NULL::text $$;
CREATE FUNCTION t_bool() RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE FUNCTION t_row(OUT a integer, OUT b text) LANGUAGE sql AS $$ SELECT 1, 'x' $$;
CREATE FUNCTION t_place() RETURNS place LANGUAGE sql AS $$ SELECT 'Rome', 100 $$;
CREATE FUNCTION t_set() RETURNS SETOF integer LANGUAGE sql
	AS $$ SELECT * FROM generate_series(1, 250) $$;
CREATE FUNCTION t_table(n integer) RETURNS TABLE (x integer, y text) LANGUAGE sql
	AS $$ SELECT i, repeat('y', 1000) FROM generate_series(1, n) i $$;
CREATE FUNCTION t_column() RETURNS TABLE (x integer) LANGUAGE sql AS $$ VALUES (1), (2) $$;
CREATE FUNCTION t_none() RETURNS SETOF place LANGUAGE sql AS $$ SELECT 'a', 1 WHERE false $$;
CREATE PROCEDURE t_proc(a integer, OUT b integer, INOUT c text DEFAULT 'c', d integer DEFAULT 3)
	LANGUAGE plpgsql AS $$ BEGIN b := a + d; c := c || '!'; END $$;
CREATE PROCEDURE t_quiet(a integer) LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE PROCEDURE t_commit() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
SELECT agno_call_tool('t_void'), agno_call_tool('t_null'), agno_call_tool('t_bool'),
	agno_call_tool('t_row'), agno_call_tool('t_place'), agno_call_tool('t_column'),
	agno_call_tool('t_none'), length(agno_call_tool('t_set'));
-- types with a length have any
CREATE FUNCTION t_chars(a char(2), b bit(4), c char(2)[]) RETURNS text LANGUAGE sql AS $$ SELECT concat_ws(' ', a, b, c) $$;
SELECT agno_call_tool('t_chars', '{"a": "de", "b": "1011", "c": ["fr", "it"]}');
DROP FUNCTION t_chars;
-- whatever the columns are called
CREATE FUNCTION t_f() RETURNS TABLE (f integer, v text) LANGUAGE sql AS $$ SELECT 1, 'x' $$;
CREATE FUNCTION t_v(OUT v integer, OUT f integer) LANGUAGE sql AS 'SELECT 1, 2';
SELECT agno_call_tool('t_f'), agno_call_tool('t_v');
DROP FUNCTION t_f, t_v;
SELECT right(agno_call_tool('t_table', '{"n": 1000}'), 40),
	length(agno_call_tool('t_table', '{"n": 1000}'));
SELECT agno_call_tool('t_proc', '{"a": 1}'), agno_call_tool('t_proc', '{"a": 1, "d": 5, "c": "x"}'),
	agno_call_tool('t_quiet', '{"a": 1}');
-- nobody needs to give what is variadic
CREATE PROCEDURE t_variadic(a integer, OUT b integer, VARIADIC c integer[])
	LANGUAGE plpgsql AS $$ BEGIN b := a + cardinality(c); END $$;
SELECT agno_call_tool('t_variadic', '{"a": 1}'), agno_call_tool('t_variadic', '{"a": 1, "c": [7, 8]}'),
	agno_describe_tool('t_variadic') #> '{parameters,required}' AS required;
DROP PROCEDURE t_variadic;
SELECT agno_call_tool('t_commit');

-- Wrong arguments
SELECT agno_call_tool('order_status', '{"order_id": "x"}');
SELECT agno_call_tool('order_status', '{"order_id": 1.5}');
SELECT agno_call_tool('order_status', '{"order_id": 99999999999}');
SELECT agno_call_tool('order_status', '{}');
SELECT agno_call_tool('order_status', '{"order_id": 1, "other": 2}');
SELECT agno_call_tool('order_status', '[]');
SELECT agno_call_tool('order_status', NULL);
SELECT agno_call_tool('order_status', (repeat('{"a":', 1000) || '1' || repeat('}', 1000))::jsonb);
SELECT agno_call_tool('order_status', (repeat('{"a":', 1001) || '1' || repeat('}', 1001))::jsonb);

-- What cannot be a tool
CREATE FUNCTION bad_unnamed(integer) RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION bad_poly(a anyelement) RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION bad_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION bad_record() RETURNS record LANGUAGE sql AS $$ SELECT 1, 2 $$;
CREATE FUNCTION "bad name"() RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION twice(a integer) RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION twice(a text) RETURNS integer LANGUAGE sql AS $$ SELECT 2 $$;
CREATE FUNCTION shop.twice(a text) RETURNS integer LANGUAGE sql AS $$ SELECT 2 $$;
CREATE FUNCTION pg_temp.temporary() RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$;
SELECT agno_describe_tool('bad_unnamed');
CREATE PROCEDURE bad_out(a integer, OUT integer) LANGUAGE plpgsql AS $$ BEGIN $2 := 1; END $$;
CREATE PROCEDURE bad_twice(IN a integer, OUT a integer) LANGUAGE sql AS $$ SELECT 1 $$;
CREATE PROCEDURE bad_outs(OUT integer) LANGUAGE plpgsql AS $$ BEGIN $1 := 1; END $$;
SELECT agno_call_tool('bad_out', '{"a": 1}');
SELECT agno_call_tool('bad_outs');
SELECT agno_describe_tool('bad_twice');
DROP PROCEDURE bad_out, bad_outs, bad_twice;
SELECT agno_describe_tool('bad_poly');
SELECT agno_describe_tool('bad_trigger');
SELECT agno_describe_tool('bad_record');
CREATE FUNCTION bad_out(OUT a record) LANGUAGE sql AS $$ SELECT (1, 2) $$;
SELECT agno_describe_tool('bad_out');
DROP FUNCTION bad_out;
SELECT agno_describe_tool('"bad name"');
SELECT agno_describe_tool('pg_catalog.sum(integer)');
SELECT agno_describe_tool('pg_catalog.row_number()');
SELECT agno_describe_tool('twice');
CREATE FUNCTION div(a text) RETURNS text LANGUAGE sql AS $$ SELECT a $$;
SELECT agno_describe_tool('div');
SELECT agno_describe_tool('div(integer)');
SELECT agno_describe_tool('"div("(integer)');
DROP FUNCTION div(text);
SELECT agno_describe_tool('div(integer)');
SELECT agno_describe_tool('nobody');
SELECT agno_describe_tool('shop.nobody(integer)');
SELECT agno_describe_tool('a.b.c.d');
SELECT agno_describe_tool('');
SELECT agno_describe_tool('agent:researcher');
\set VERBOSITY sqlstate
INSERT INTO agno.agents (agent_id, tools) VALUES ('bad', '{pg_temp.temporary}');
\set VERBOSITY default

-- Names are resolved when they are written
SET search_path = shop, public;
INSERT INTO agno.agents (agent_id, tools, tool_choice, requires_confirmation)
	VALUES ('a', '{order_status, twice(text)}', 'twice', '{twice(text)}')
	RETURNING tools, requires_confirmation;
RESET search_path;
UPDATE agno.agents SET name = 'A' WHERE agent_id = 'a' RETURNING tools;
UPDATE agno.agents SET tools = '{order_status,order_status}' WHERE agent_id = 'a';
UPDATE agno.agents SET tools = '{shop.twice,twice(text)}' WHERE agent_id = 'a';
UPDATE agno.agents SET tools = '{order_status}' WHERE agent_id = 'a';
UPDATE agno.agents SET requires_confirmation = '{order_status,twice(text)}' WHERE agent_id = 'a';
UPDATE agno.agents SET requires_confirmation = '{order_status,shop.twice}' WHERE agent_id = 'a'
	RETURNING requires_confirmation;
UPDATE agno.agents SET tools = '{order_status}', requires_confirmation = NULL WHERE agent_id = 'a';
UPDATE agno.agents SET tools = NULL, tool_choice = NULL, requires_confirmation = NULL
	WHERE agent_id = 'a' RETURNING tools;

-- agno.tools
INSERT INTO agno.tools (tool, function, description, bind)
	VALUES ('mine', 'order_status', 'Where my order is.', '{"order_id": "user_id"}')
	RETURNING function;
SELECT agno_describe_tool('mine');
SELECT agno_call_tool('mine', '{}', '7'), agno_call_tool('mine');
SELECT agno_call_tool('mine', '{"order_id": 8}', '7');
INSERT INTO agno.tools (tool, function) VALUES ('bad name', 'order_status');
INSERT INTO agno.tools (tool, function) VALUES ('', 'order_status');
INSERT INTO agno.tools (tool, function) VALUES ('x', '');
INSERT INTO agno.tools (tool, function) VALUES ('x', 'nobody');
INSERT INTO agno.tools (tool, function, bind) VALUES ('x', 'order_status', '{"x": "user_id"}');
INSERT INTO agno.tools (tool, function, bind) VALUES ('x', 'order_status', '{"order_id": "me"}');
INSERT INTO agno.tools (tool, function, bind) VALUES ('x', 'order_status', '{"order_id": 1}');
INSERT INTO agno.tools (tool, function, parameters) VALUES ('x', 'order_status', '{"type": 1}');
INSERT INTO agno.tools (tool, function, requires_user_input) VALUES ('x', 'order_status', '{x}');
\set VERBOSITY terse
INSERT INTO agno.tools (tool) VALUES ('x');
\set VERBOSITY default
INSERT INTO agno.tools (tool, function, parameters) VALUES ('ours', 'order_status',
	'{"type": "object", "properties": {"order_id": {"type": "integer", "minimum": 10}}}');
SELECT agno_call_tool('ours', '{"order_id": 9}');
SELECT agno_call_tool('ours', '{"order_id": 10}');
UPDATE agno.agents SET tools = '{mine,ours,order_status}' WHERE agent_id = 'a' RETURNING tools;

-- A function that is gone, or has become another
INSERT INTO agno.agents (agent_id, tools) VALUES ('forgotten', '{order_status}');
ALTER FUNCTION order_status(integer) RENAME TO order_state;
SELECT agno_arun('x', 'forgotten');
DELETE FROM agno.agents WHERE agent_id = 'forgotten';
SELECT agno_call_tool('mine', '{}', '7');
ALTER FUNCTION order_state(integer) RENAME TO order_status;

-- A tool that reads writes nothing, whatever it calls
CREATE TABLE notes (note text);
CREATE FUNCTION writes() RETURNS void LANGUAGE sql AS $$ INSERT INTO notes VALUES ('x') $$;
CREATE FUNCTION pretends() RETURNS void LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM writes(); END $$;
SELECT agno_call_tool('writes');
SELECT agno_call_tool('pretends');
INSERT INTO agno.tools (tool, function, read_only) VALUES ('harmless', 'writes', true);
SELECT agno_call_tool('harmless');
SELECT count(*) FROM notes;

-- The settings of a run can be read within a tool, and set by nobody.
CREATE FUNCTION who() RETURNS text LANGUAGE sql STABLE
	AS $$ SELECT current_setting('agno_bg.user_id') $$;
SELECT agno_call_tool('who', '{}', 'ann'), agno_call_tool('who'), who();
SET agno_bg.user_id = 'eve';
SELECT set_config('agno_bg.user_id', 'eve', true);
ALTER ROLE CURRENT_USER SET agno_bg.user_id = 'eve';
CREATE FUNCTION forges() RETURNS text LANGUAGE sql SET agno_bg.user_id = 'eve' AS $$ SELECT 'x' $$;
CREATE FUNCTION resets() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RESET agno_bg.user_id;
	PERFORM set_config('agno_bg.user_id', NULL, true);
	RESET ALL;
	RETURN current_setting('agno_bg.user_id');
END $$;
CREATE FUNCTION nests() RETURNS text LANGUAGE sql
	AS $$ SELECT agno_call_tool('who') || agno_call_tool('who', '{}', 'eve') $$;
CREATE FUNCTION nests_well() RETURNS text LANGUAGE sql
	AS $$ SELECT agno_call_tool('who') || current_setting('agno_bg.user_id') $$;
SELECT agno_call_tool('resets', '{}', 'ann'), agno_call_tool('nests_well', '{}', 'ann');
SELECT agno_call_tool('nests', '{}', 'ann');
SELECT agno_call_tool('who') AS after_an_error;

-- Ready-made ones
SELECT * FROM agno.list_tables() WHERE "table" LIKE '%notes';
COMMENT ON COLUMN notes.note IS 'what it says';
SELECT * FROM agno.describe_table('notes');
SELECT * FROM agno.describe_table('nobody');
SELECT agno_describe_tool('agno.run_sql_query');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "SELECT * FROM notes"}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "SELECT i FROM generate_series(1, 500) i", "max_rows": 3}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "SELECT i FROM generate_series(1, 3) i", "max_rows": 3}');
SELECT count(*), count(*) FILTER (WHERE json_typeof(row) = 'string') AS notes FROM agno.run_sql_query('SELECT 1 AS i FROM generate_series(1, 20000)', 20000) row;
SELECT agno_call_tool('agno.run_sql_query', '{"query": "SELECT 1", "max_rows": 0}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "EXPLAIN SELECT 1"}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "SHOW work_mem"}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "VALUES (1), (2)"}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "DELETE FROM notes RETURNING *"}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "WITH d AS (DELETE FROM notes RETURNING *) SELECT * FROM d"}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "SELECT 1; DELETE FROM notes"}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "SELECT writes()"}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "COPY notes TO PROGRAM ''true''"}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "SELECT set_config(''transaction_read_only'', ''off'', true), writes()"}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "COMMIT"}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": "SELECT nextval(''nobody'')"}');
SELECT agno_call_tool('agno.run_sql_query', '{"query": ""}');
SELECT * FROM agno.run_sql_query('SELECT writes()');
SELECT * FROM agno.run_sql_query('SELECT 1 AS one');
SHOW transaction_read_only;
SELECT count(*) FROM notes;
SELECT agno_call_tool('agno.run_sql_query', '{"query": "SELECT set_config(''application_name'', ''query'', false), current_setting(''application_name'')"}');
SELECT current_setting('application_name') = 'query' AS is_set;

-- The triggers of our tables are none of others, which may have columns of other types.
CREATE TABLE not_tools (tool integer, function text, requires_user_input text[], parameters jsonb, bind jsonb, approver regrole, external_execution boolean, preview boolean);
CREATE TRIGGER check_tool BEFORE INSERT ON not_tools FOR EACH ROW EXECUTE FUNCTION agno.check_tool();
CREATE TRIGGER check_agent BEFORE UPDATE ON not_tools FOR EACH ROW EXECUTE FUNCTION agno.check_agent_tools();
INSERT INTO not_tools VALUES (1, 'x');
ALTER TABLE not_tools DISABLE TRIGGER check_tool;
INSERT INTO not_tools VALUES (1, 'x');
UPDATE not_tools SET tool = 2;
DROP TABLE not_tools;

-- Tools are for those who have the rights of their owner.
CREATE ROLE regress_tools_app;
CREATE ROLE regress_tools_other;
SELECT agno_grant_usage('regress_tools_app'), agno_grant_usage('regress_tools_other');
SET ROLE regress_tools_app;
INSERT INTO agno.tools (tool, function) VALUES ('app_tool', 'public.order_status');
SET ROLE regress_tools_other;
SELECT agno_describe_tool('app_tool');
SELECT tool FROM agno.tools;
INSERT INTO agno.agents (agent_id, tools) VALUES ('o', '{app_tool}');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION writes() FROM PUBLIC;
SET ROLE regress_tools_other;
SELECT agno_call_tool('writes');
RESET ROLE;
DELETE FROM agno.tools;
DELETE FROM agno.agents;
DROP OWNED BY regress_tools_app, regress_tools_other;
DROP ROLE regress_tools_app, regress_tools_other;
