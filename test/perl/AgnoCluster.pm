# What the TAP tests of agno_router share: a router and its nodes.

package AgnoCluster;

use strict;
use warnings;

use AgnoTest;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(need_plproxy new_cluster_node new_router add_node new_cluster
  own_id set_slots statements slot_of
  wait_copied);

# Skip the whole test where the server has no PL/Proxy.
sub need_plproxy
{
	my $pg_config = $ENV{PG_CONFIG} // 'pg_config';

	chomp(my $share = `$pg_config --sharedir`);
	return if -e "$share/extension/plproxy.control";
	print STDERR "SKIPPED: agno_router was NOT tested, since this server has no "
	  . "PL/Proxy (on Debian, postgresql-NN-plproxy)\n";
	plan skip_all => 'there is no PL/Proxy';
}

# A server that executes runs, with the model server "mock" at a URL, if one is
# given. Its name is that by which the router will know it.
sub new_cluster_node
{
	my ($name, $url, %params) = @_;
	my $node = new_node(
		$name,
		%params,
		no_extension => 1,
		init => { allows_streaming => 'logical' },
		conf => "agno_bg.cluster = on\n" . ($params{conf} // ''));

	$node->safe_psql('postgres', 'CREATE EXTENSION agno_bg');
	add_mock_server($node, $url) if $url;
	return $node;
}

# A server without agno_bg that has agno_router.
sub new_router
{
	my ($name, %params) = @_;
	my $router = PostgreSQL::Test::Cluster->new($name);

	$router->init(extra => [ '-E', 'UTF8', '--no-locale' ]);
	$router->append_conf(
		'postgresql.conf', qq(
log_statement = none
log_line_prefix = '%m [%p] %b '
client_connection_check_interval = 200ms
) . ($params{conf} // ''));
	$router->start;
	$router->safe_psql('postgres',
		'SET client_min_messages = warning; CREATE EXTENSION agno_router CASCADE');
	return $router;
}

# Have the router know a node, by a connection string of its own if one is given.
sub add_node
{
	my ($router, $node, $conninfo) = @_;

	$conninfo //= $node->connstr('postgres');
	$conninfo =~ s/'/''/g;
	$router->safe_psql('postgres',
		"SELECT agno_router_add_node('" . $node->name . "', '$conninfo')");
}

# Have each node know its slots, as the router gave them out. A reload while tables are
# copied would have that begin again, with an error.
sub set_slots
{
	my ($router, @nodes) = @_;

	foreach my $node (@nodes)
	{
		wait_copied($node);
		my $slots = value($router,
			"concat(first_slot, '-', last_slot) FROM agno.nodes WHERE node = '"
			  . $node->name . "'");
		$node->safe_psql('postgres', "ALTER SYSTEM SET agno_bg.slots = '$slots'");
		$node->reload;
	}
}

# Wait until a node has copied the agents and tools of the first one, if it follows.
sub wait_copied
{
	my ($node) = @_;

	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate <> 'r'")
	  or die 'agents and tools are not copied to ' . $node->name;
}

# A router and as many nodes, with a mock model server. Returns the router and the
# nodes: n1, n2 and so on. Parameters: conf of the nodes, router_conf, and mock, a list of
# arguments.
sub new_cluster
{
	my ($count, %params) = @_;
	my $url = start_mock('mock', @{ $params{mock} // [] });
	my @nodes = map { new_cluster_node("n$_", $url, conf => $params{conf}) }
	  1 .. $count;
	my $router = new_router('router', conf => $params{router_conf});

	add_node($router, $_) foreach @nodes;
	set_slots($router, @nodes);
	return ($router, @nodes);
}

# The slot of an id.
sub slot_of
{
	my ($router, $id) = @_;
	return value($router, "agno_slot('$id')");
}

# An id of one's own that begins so, and whose node is this one.
sub own_id
{
	my ($router, $prefix, $node) = @_;
	my $name = ref $node ? $node->name : $node;

	return value($router,
		"id FROM (SELECT '$prefix-' || i AS id FROM generate_series(1, 1000) i) s "
		  . "WHERE agno.node_of(id) = '$name' LIMIT 1");
}

# How often statements like this have been executed on a node, by its
# pg_stat_statements.
sub statements
{
	my ($node, $like) = @_;
	return value($node,
		"coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '$like'");
}

1;
