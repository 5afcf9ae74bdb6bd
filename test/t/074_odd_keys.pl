# What a server says is stored without its key. A key may be anything: a number
# that is also in a time, the punctuation of JSON, or what follows a backslash in
# it. Whatever is cut out of what, the run comes to an end.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');

my %keys = (
	number => substr(time, 0, 6),
	syntax => '","role":"',
	member => '"content":',
	event => '","data":1',
	escape => 'nfoo-123',
	word => 'true-x',
	real => 'sk-1234567890');

foreach my $name (sort keys %keys)
{
	my $key = "'$keys{$name}'";

	$node->safe_psql(
		'postgres', qq(
		CREATE SERVER $name FOREIGN DATA WRAPPER agno_bg
			OPTIONS (base_url '$url');
		CREATE USER MAPPING FOR PUBLIC SERVER $name OPTIONS (api_key $key);
		SELECT agno_arun(E'a\\nfoo-123 ' || $key, model => '$name:echo',
			stream => streamed, run_id => '$name ' || streamed)
		FROM unnest('{true, false}'::boolean[]) streamed));
}
ok( $node->poll_query_until('postgres',
		'SELECT bool_and(finished_at IS NOT NULL) FROM agno.runs'),
	'all runs come to an end');
is(value("string_agg(DISTINCT status::text, ' ') FROM agno.runs
		WHERE run_id ~ '^(number|word|real)'"),
	'COMPLETED', 'runs with keys that do not look like JSON complete');
is(value("count(*) FROM agno.runs r WHERE r.content LIKE '%sk-1234567890%'
		OR r.messages::text LIKE '%You said%sk-1234567890%'"),
	0, 'the key is in no answer');
is(value('count(*) FROM agno.run_queue'), 0, 'the queue is empty');
is(value('count(run_data) FROM agno.agno_runs'),
	2 * keys %keys, 'all runs can be read');

$node->stop;
done_testing();
