"""Operations on models, one file each: its declaration, what it requires, how it is planned, how it is computed."""
