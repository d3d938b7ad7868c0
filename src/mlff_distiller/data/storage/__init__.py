"""Storage: the store on disk, its writers and readers, and what finds and mends damage."""
