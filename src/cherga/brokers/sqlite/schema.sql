-- One row a job. States: 1 scheduled, 2 ready, 3 blocked, 4 running, 5 succeeded, 6 failed, 7 cancelled (rows.py).
-- A plain job touches per life: the table, by_id and ready (push), ready and running (claim), running and final (settle).

create table jobs (
    sequence integer primary key,       -- from counters, never used twice
    state integer not null,
    lane integer not null,              -- lanes.number
    rank integer not null,              -- minus priority
    place integer not null,             -- place among the ready ones of its rank: a fresh number at each entry
    token integer,                      -- of the last claim; stays after the settlement, so that a repeat is recognised
    session integer,                    -- sessions.number of the last claim
    attempt integer not null default 0,
    claims integer not null default 0,
    crashes integer not null default 0,
    interruptions integer not null default 0,
    traits integer not null default 0,  -- bits: what the end of this job must look after (rows.py)
    cancel integer not null default 0,
    pending integer not null default 0,
    position integer not null default 0,
    reason text,
    enqueued_at real not null,
    run_at real,
    ready_at real,
    first_started_at real,
    started_at real,
    finished_at real,
    expires_at real,
    prune_at real,
    id blob not null,
    owner text,
    head blob,
    ties blob,                          -- packed unique key and limit keys
    parent blob,                        -- id of the job that asked for it, or of its group
    payload blob not null,
    progress blob,
    meta blob,
    message text,
    attempts blob,
    result blob
) strict;

create unique index jobs_by_id on jobs (id);
create index jobs_ready on jobs (lane, rank, place, expires_at) where state = 2;
create index jobs_running on jobs (session) where state = 4;
create index jobs_cancelling on jobs (session) where cancel = 1 and state = 4;
create index jobs_due on jobs (run_at, sequence) where state = 1;
create index jobs_expiring on jobs (expires_at) where expires_at is not null and state <= 3;
create index jobs_final on jobs (state, prune_at) where state >= 5;
create index jobs_ended_badly on jobs (state, sequence) where state >= 6;
create index jobs_owned on jobs (owner, sequence) where owner is not null;
create index jobs_by_parent on jobs (parent, state) where parent is not null;
create index jobs_owned_unfinished on jobs (owner, sequence) where owner is not null and state <= 4;

-- Where ready jobs stand: all jobs of a lane are open or closed together.
create table lanes (
    number integer primary key autoincrement,
    queue text not null,
    task text not null,
    limits text not null,               -- JSON array of limit keys
    suspect integer not null,
    turn integer not null default 0,    -- for lanes with limit keys: when it was last served, the lowest is next
    head integer,                       -- for lanes with limit keys: the best rank of those ready here, null when there is none
    unique (queue, task, limits, suspect)
) strict;

create index lanes_ready on lanes (suspect, queue, task, head, turn) where head is not null;

-- How many jobs stand where; every transaction that moves jobs writes its differences here. Lane 0, state 0 holds the last
-- number given to a job or to a place in a lane (here, because these rows share the page that is written anyway).
create table counters (
    lane integer not null,
    state integer not null,
    count integer not null,
    primary key (lane, state)
) strict, without rowid;

create index counters_running on counters (lane) where state = 4 and count > 0;

create table uniques (
    key text primary key,
    sequence integer not null,
    id blob not null,
    hold text not null,
    expires real                        -- for the hold "period"
) strict, without rowid;

create index uniques_queued on uniques (sequence) where hold = 'queued';
create index uniques_expiring on uniques (expires) where expires is not null;

-- A row stands until the job that waits is final: so long its parent is not pruned.
create table edges (
    parent integer not null,
    child integer not null,
    policy text not null,
    released integer not null default 0,
    primary key (parent, child)
) strict, without rowid;

create index edges_by_child on edges (child);

-- Ended jobs whose dependants have not all been released yet.
create table releases (parent integer primary key, ended integer not null) strict;

create table events (
    sequence integer not null,
    position integer not null,
    kind text not null,
    data blob not null,
    primary key (sequence, position)
) strict, without rowid;

-- Attempts whose job was deleted by the settlement itself (keep = 0), so that a repeated settlement is recognised.
create table forgotten (sequence integer primary key, token integer not null, at real not null) strict;

create table sessions (
    number integer primary key autoincrement,
    id text not null unique,
    boot text not null,
    expires real not null,              -- seconds since boot
    inode integer,                      -- of the lock file that its process holds
    death blob,                         -- packed, once it is known to have ended and its jobs are being freed
    info blob not null
) strict;

-- Names of sessions that have ended, for the jobs that they ended.
create table past_sessions (number integer primary key, id text not null, ended real not null) strict;

create table pauses (scope text primary key) strict, without rowid;

create table definitions (
    kind text not null,
    name text not null,
    version integer not null,
    data blob not null,                 -- empty: taken back
    stamp text not null default '',
    primary key (kind, name)
) strict, without rowid;

-- Starts under limits with a rate: a packed log (rules/rates.py), and until when it matters.
create table rates (name text primary key, log blob not null, expires real not null) strict, without rowid;

-- Parents whose unfinished children are to be cancelled, in pages; the rank says which came first.
create table orphans (parent blob primary key, rank integer not null, reason text not null, message text) strict, without rowid;

create table ticks (schedule text primary key, due real) strict, without rowid;

create table shared (key text primary key, version integer not null, value blob not null) strict, without rowid;

-- namespace; sweep: when and on which boot the last reap was, and until when no lease may expire; rules: a number that rises with
-- each change of a limit, so that limits are read only when it has.
create table facts (name text primary key, value text not null) strict, without rowid;

insert into facts (name, value) values ('rules', '0');
create trigger limit_declared after insert on definitions when new.kind in ('limit', 'override')
    begin update facts set value = value + 1 where name = 'rules'; end;
create trigger limit_changed after update on definitions when new.kind in ('limit', 'override') or old.kind in ('limit', 'override')
    begin update facts set value = value + 1 where name = 'rules'; end;
create trigger limit_deleted after delete on definitions when old.kind in ('limit', 'override')
    begin update facts set value = value + 1 where name = 'rules'; end;

-- What the broker did with jobs by itself and a worker is to tell: whose it is to tell (sessions.number), packed (words/notice.py).
create table notices (
    number integer primary key autoincrement,
    task text not null,
    at real not null,
    session integer,
    packed blob not null
) strict;
