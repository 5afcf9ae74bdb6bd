# agno.run_sql_query, which models call, can be ended between two rows, however long those are,
# and has few of the long ones in memory.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe('SET statement_timeout = 500');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $query = q(SELECT repeat('x', 8000000) FROM generate_series(1, 100));
my $start = time;
my $said = $session->query("SELECT count(*) FROM agno.run_sql_query(\$q\$$query\$q\$)");
cmp_ok(time - $start, '<', 3, 'a query with very long rows ends in time');
$node->wait_for_log(qr/canceling statement due to statement timeout/);
pass('as it is told to');
cmp_ok(status_of($pid, 'VmHWM') / 1024, '<', 400, 'and has not had all of them in memory');
$session->quit;

is(value(q(count(*) FROM agno.run_sql_query('SELECT repeat(''x'', 200000) FROM generate_series(1, 30)'))), 30, 'rows are fetched one by one');
is(value(q(count(*) FROM agno.run_sql_query('SELECT i FROM generate_series(1, 500) i', 1000))), 500, 'or many at once');
is(value(q(count(*) FROM agno.run_sql_query('SELECT CASE WHEN i % 100 < 3 THEN repeat(''x'', 2000000) END FROM generate_series(1, 250) i', 1000))), 250, 'or now this, now that');

$node->stop;
done_testing();
