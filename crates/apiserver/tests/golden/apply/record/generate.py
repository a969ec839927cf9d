import random,json,sys
seed=int(sys.argv[1]); n=int(sys.argv[2]); empties=sys.argv[3]=='1'
R=random.Random(seed)
w=lambda: R.choice('abc')
def sub(l,k=3):
    l=list(l); R.shuffle(l); return l[:R.randint(0 if empties else 1,k)]
def words(): return {k:w() for k in sub('pqr',2)}
def port():
    p={'port':R.choice([1,2,3])}
    if R.random()<.4: p['protocol']=R.choice(['TCP','UDP'])
    if R.random()<.5: p['name']=w()
    if R.random()<.2: p['words']=words()
    return p
def ports():
    out=[];seen=set()
    for _ in range(R.randint(1,3)):
        p=port();k=(p['port'],p.get('protocol','TCP'))
        if k in seen: continue
        seen.add(k); out.append(p)
    return out
def anyv(d=0):
    r=R.random()
    if r<.4 or d>2: return R.choice(['a',1,True,'b'])
    if r<.6: return [anyv(d+1) for _ in range(R.randint(0 if empties else 1,2))]
    return {k:anyv(d+1) for k in sub('xyz',2)}
def spec():
    s={}
    f={'a':w,'nested':lambda:{k:w() for k in sub('xy',2)},'open':lambda:{k:anyv(1) for k in sub('xyz',2)},'atomicMap':words,'words':words,'list':lambda:sub('abc'),'set':lambda:(sub('abc') or ['a']),'ports':ports}
    for k,g in f.items():
        if R.random()<.4: s[k]=g()
    return s
def obj():
    o={'apiVersion':'v1','kind':'Foo','metadata':{'name':'a'}}
    if R.random()<.3:
        l=words()
        if l or empties: o['metadata']['labels']=l
    if R.random()<.9:
        s=spec()
        if s or empties: o['spec']=s
    return o
for _ in range(n):
    ops=[{'op':'apply','manager':'anchor','object':{'apiVersion':'v1','kind':'Foo','metadata':{'name':'a','labels':{'anchor':'x'}}}}]
    for i in range(R.randint(2,6)):
        if R.random()<.2:
            o=json.loads(json.dumps(R.choice(ops)['object']))
        else: o=obj()
        if R.random()<.75: ops.append({'op':'apply','manager':R.choice(['m1','m2','m3']),'force':R.random()<.35,'object':o})
        else:
            o['metadata'].setdefault('labels',{})['anchor']='x'
            ops.append({'op':'update','manager':R.choice(['u1','m1']),'object':o})
    print(json.dumps(ops))
