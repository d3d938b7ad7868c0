"""Scale: running many independent tasks on the machine's cores, with live progress and no orphans."""
