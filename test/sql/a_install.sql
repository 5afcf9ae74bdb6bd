-- What CREATE EXTENSION makes. This file comes first: the others use it.
\set SHOW_CONTEXT never
CREATE SCHEMA agno;
CREATE EXTENSION agno_bg;			-- a schema of this name is never adopted
DROP SCHEMA agno;
CREATE EXTENSION agno_bg;
\d agno.runs
\dT+ agno.run_status
\d agno.run_ref
\d agno.sessions
\d agno.cancellations

-- Every object has a comment.
SELECT pg_describe_object(classid, objid, 0) AS without_comment
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'agno_bg')
  AND obj_description(objid, classid::regclass::name) IS NULL
  AND NOT (classid = 'pg_type'::regclass AND
	EXISTS (SELECT FROM pg_type t WHERE t.oid = objid
			AND (t.typrelid <> 0 OR t.typelem <> 0)))
  AND NOT (classid = 'pg_class'::regclass AND
	EXISTS (SELECT FROM pg_class c WHERE c.oid = objid
			AND c.relkind IN ('S', 'c')))
ORDER BY 1;
SELECT attrelid::regclass, attname AS column_without_comment
FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
WHERE relnamespace = 'agno'::regnamespace AND relkind IN ('r', 'v', 'c') AND attnum > 0
  AND relname !~ '^node_'	-- those are as in what they are views of
  AND NOT attisdropped AND col_description(attrelid, attnum) IS NULL;

-- PUBLIC reads its own rows, and that is all.
SELECT c.oid::regclass AS relation, a.privilege_type
FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'agno'::regnamespace AND a.grantee = 0
ORDER BY c.relname, 2;
SELECT relname, relrowsecurity FROM pg_class
WHERE relnamespace = 'agno'::regnamespace AND relkind = 'r'
  AND has_table_privilege('public', oid, 'SELECT')
ORDER BY 1;
SELECT p.oid::regprocedure AS for_public
FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'agno_bg')
  AND has_function_privilege('public', p.oid, 'EXECUTE');

-- The routines and their signatures
SELECT p.oid::regprocedure, pg_get_function_result(p.oid) AS result,
	   provolatile AS volatile
FROM pg_proc p WHERE proname LIKE 'agno\_%' ORDER BY p.oid::regprocedure::text;
SELECT pg_get_function_arguments('agno_arun'::regproc);

-- The settings
SELECT name, boot_val, unit, context, vartype FROM pg_settings
WHERE name LIKE 'agno_bg.%' ORDER BY name;
SET agno_bg.no_such_setting = 1;		-- the prefix is reserved
