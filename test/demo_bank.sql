-- The bank of the fifth scene: twenty agents, each with ten transfers to make.
\set ON_ERROR_STOP 1
CREATE ROLE bank LOGIN;
SELECT agno_grant_usage('bank') \g /dev/null
GRANT USAGE ON FOREIGN SERVER mock TO bank;
CREATE SCHEMA bank AUTHORIZATION bank;
SET ROLE bank;
CREATE TABLE bank.accounts (id integer PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
INSERT INTO bank.accounts SELECT i, 1000 FROM generate_series(1, 20) i;
CREATE TABLE bank.transfers (tool_call_id text, source integer, target integer, amount integer,
                             xid xid8 DEFAULT pg_current_xact_id());
CREATE FUNCTION bank.transfer(source integer, target integer, amount integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	UPDATE bank.accounts SET balance = balance - transfer.amount WHERE id = source;
	UPDATE bank.accounts SET balance = balance + transfer.amount WHERE id = target;
	INSERT INTO bank.transfers VALUES (current_setting('agno_bg.tool_call_id'), source, target, amount);
	RETURN 'done';
END $$;
INSERT INTO agno.agents (agent_id, model, tools) VALUES ('teller', 'mock:tools-50', '{bank.transfer}');
-- What the mock model is to say: ten answers, each with a call.
SELECT count(*) AS agents FROM (SELECT i, (SELECT json_build_object('id', i, 'calls', json_agg(json_build_array(
		json_build_object('name', 'transfer', 'arguments', json_build_object('source', 1 + (random() * 19)::int,
			'target', 1 + (random() * 19)::int, 'amount', 1 + (random() * 5)::int)))))
		FROM generate_series(1, 10) WHERE i > 0)::text AS script FROM generate_series(1, 20) i) s,
	agno_arun(s.script, 'teller', run_id => 'teller-' || i) r;
