-- From version 3 to 4: a number that rises with each change of a limit.

insert into facts (name, value) values ('rules', '0');
create trigger limit_declared after insert on definitions when new.kind in ('limit', 'override')
    begin update facts set value = value + 1 where name = 'rules'; end;
create trigger limit_changed after update on definitions when new.kind in ('limit', 'override') or old.kind in ('limit', 'override')
    begin update facts set value = value + 1 where name = 'rules'; end;
create trigger limit_deleted after delete on definitions when old.kind in ('limit', 'override')
    begin update facts set value = value + 1 where name = 'rules'; end;
