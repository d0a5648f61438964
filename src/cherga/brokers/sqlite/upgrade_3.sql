-- From version 2 to 3: notices of what the broker did with jobs by itself.

create table notices (
    number integer primary key autoincrement,
    task text not null,
    at real not null,
    session integer,
    packed blob not null
) strict;
