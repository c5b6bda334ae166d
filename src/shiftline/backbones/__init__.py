"""The built-in backbones, one file per library; `Architecture` is the base of users' own."""
