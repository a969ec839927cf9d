import json,sys
for l in sys.stdin:
    s=json.loads(l)
    # the library's path slices may alias in its conflict list: such a sequence has the same conflict twice
    if any(len(set(o.get('conflicts') or []))!=len(o.get('conflicts') or []) for o in s): continue
    def n(v): return v is None or isinstance(v,dict) and any(n(x) for x in v.values()) or isinstance(v,list) and any(map(n,v))
    # null where a container lost its last field: ours drops the container, or keeps it empty if it is wanted
    if any(n(o['result']) for o in s): continue
    print(json.dumps(s,separators=(',',':')))
