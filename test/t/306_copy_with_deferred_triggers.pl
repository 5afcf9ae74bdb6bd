# Rows are copied into agno.runs, as by a restore, where a DBA's foreign key on it is deferred; and
# in a transaction that is read only, where COPY itself says that it may not.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
$node->safe_psql('postgres', q(
	CREATE TABLE tenants (id integer PRIMARY KEY);
	INSERT INTO tenants VALUES (1);
	ALTER TABLE agno.runs ADD COLUMN tenant integer DEFAULT 1 REFERENCES tenants DEFERRABLE INITIALLY DEFERRED));

my $copy = "COPY agno.runs (run_id, session_id, status, input, model, model_provider, owner, priority, created_at) FROM stdin;\n"
  . join("\t", qw(copied s COMPLETED x echo mock postgres 0 2026-01-01)) . "\n\\.\n";
my $options = value("reloptions FROM pg_class WHERE oid = 'agno.runs'::regclass");
is(($node->psql('postgres', $copy))[2], '', 'rows are copied');
is(run_status('copied'), 'COMPLETED', 'and are there');
is(value("reloptions FROM pg_class WHERE oid = 'agno.runs'::regclass"), $options, 'the room that its pages have is as before');
$node->safe_psql('postgres', "BEGIN; COPY agno.runs (run_id) FROM stdin;\n\\.\nROLLBACK");
is(value("reloptions FROM pg_class WHERE oid = 'agno.runs'::regclass"), $options, 'after a rollback, too');

my $session = $node->background_psql('postgres', on_error_stop => 0);
my (undef, undef, $error) = $node->psql('postgres', "SET default_transaction_read_only = on;\n$copy");
like($error, qr/cannot execute COPY FROM in a read-only transaction/, 'COPY says that it may not write');
$session->query("SET default_transaction_read_only = on");
$session->query('COPY agno.runs FROM PROGRAM \'true\'');
enqueue('beside', 'echo');
expect_run('beside', { status => 'COMPLETED' }, 'and the session that was refused keeps no runner away');

$session->quit;
$node->stop;
done_testing();
