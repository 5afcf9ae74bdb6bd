# The extension in a schema of its own, of an odd name: it is updated from 1.0, and who
# grants usage to a role is told that the role does not get at the functions yet.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', no_extension => 1);
my $schema = '"100% ours, so"';
$node->safe_psql('postgres', qq(CREATE ROLE app LOGIN; CREATE SCHEMA $schema; CREATE EXTENSION agno_bg SCHEMA $schema VERSION '1.0';
	SELECT $schema.agno_grant_usage('app')));
my (undef, undef, $err) = $node->psql('postgres', 'ALTER EXTENSION agno_bg UPDATE');
unlike($err, qr/ERROR/, 'it is updated');
is(value(q(extversion FROM pg_extension WHERE extname = 'agno_bg')), '1.1', 'to 1.1');
add_mock_server(start_mock('mock'));

(undef, undef, $err) = $node->psql('postgres', qq(\\set VERBOSITY verbose\nSELECT $schema.agno_grant_usage('app')));
like($err, qr/WARNING:  01007: role "app" has no USAGE on schema \Q$schema\E, where the functions are\nHINT:  \QGRANT USAGE ON SCHEMA $schema TO app\E/,
	'who grants usage is told what is missing')
  or diag $err;
is(outcome_as('app', "SELECT $schema.agno_arun('x')"), '42501', 'it is');
$node->safe_psql('postgres', "GRANT USAGE ON SCHEMA $schema TO app");
(undef, undef, $err) = $node->psql('postgres', "SELECT $schema.agno_grant_usage('app'), $schema.agno_grant_usage('public')");
like($err, qr/^[^\n]*WARNING:  role "public" has no USAGE.*\nHINT:  GRANT USAGE ON SCHEMA \Q$schema\E TO public$/, 'then only of others');
like(as('app', "SET search_path = $schema; CALL agno_run('x', model => 'mock:echo')"), qr/COMPLETED/, 'and runs are executed');
is(as('app', q(INSERT INTO agno.enqueue (input, model) VALUES ('x', 'mock:echo') RETURNING status)), 'PENDING', 'also through the view');

$node->stop;
done_testing();
