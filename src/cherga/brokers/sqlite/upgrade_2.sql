-- From version 1 to 2: families of jobs, limits with rates and turns, stamped definitions.

alter table jobs add column parent blob;
create index jobs_by_parent on jobs (parent, state) where parent is not null;
alter table lanes add column turn integer not null default 0;
alter table lanes add column head integer;
create index lanes_ready on lanes (suspect, queue, task, head, turn) where head is not null;
create index counters_running on counters (lane) where state = 4 and count > 0;
alter table definitions add column stamp text not null default '';
create table rates (name text primary key, log blob not null, expires real not null) strict, without rowid;
create table orphans (parent blob primary key, rank integer not null, reason text not null, message text) strict, without rowid;
