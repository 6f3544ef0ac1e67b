-- What a later version might add: nothing that an earlier one would miss, but it cannot know that.
CREATE TABLE later (num INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
