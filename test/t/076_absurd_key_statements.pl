# Keys are cut out of errors, by any session and before anybody can interrupt it:
# in time and memory that are in proportion to what is said, however often that
# has the key, and however many keys a statement sets.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
$node->safe_psql('postgres', 'CREATE ROLE stranger LOGIN');
my $session = $node->background_psql('postgres', on_error_stop => 0,
	extra_params => [ '-U', 'stranger' ]);
my $pid = $session->query('SELECT pg_backend_pid()');
my $memory = status_of($pid, 'VmHWM') / 1024;

# How long a statement takes that fails, in seconds.
sub time_of_error
{
	my ($statement) = @_;
	my $start = time;

	$session->query($statement);
	return time - $start;
}

my $often = time_of_error(q(DO $$BEGIN RAISE EXCEPTION '%', repeat('k3y!', 20000); END$$;)
	  =~ s/;$/ -- OPTIONS (api_key 'k3y!') SERVER\n;/r);
note("a key that is said 20,000 times: $often s");
cmp_ok($often, '<', 2, 'a key that is said often is cut out at once');

my $many = time_of_error('SELECT 1/0 /* OPTIONS SERVER '
	  . join(' ', map { "api_key 'key$_'" } 1 .. 100000) . ' */;');
note("a statement with 100,000 keys: $many s");
cmp_ok($many, '<', 2, 'a statement with very many keys fails at once');

$memory = status_of($pid, 'VmHWM') / 1024 - $memory;
note("the session took $memory MB");
cmp_ok($memory, '<', 100, 'the session takes no more memory than that');
$session->quit;
is(logged('k3y!'), 0, 'the key is not in the log');
is(logged("'key99999'"), 0, 'nor is that of the statement with very many');

$node->stop;
done_testing();
