import random,json,subprocess,sys,os
from concurrent.futures import ThreadPoolExecutor
R=random.Random(int(sys.argv[1])); N=int(sys.argv[2])
K='kubectl'
w=lambda: R.choice(['a','b','c','d'])
def sub(l,lo=0,hi=3):
    l=list(l); R.shuffle(l); return l[:R.randint(lo,min(hi,len(l)))]
def env(n):
    return {'name':n,'value':w()}
def cont(n,img=True):
    c={'name':n}
    if img: c['image']='i'+w()
    if R.random()<.6: c['env']=[env(x) for x in sub('ABC',1)]
    if R.random()<.4: c['args']=[w() for _ in range(R.randint(1,3))]
    if R.random()<.4: c['ports']=[{'containerPort':p,'protocol':'TCP'} for p in sub([1,2,3],1)]
    if R.random()<.3: c['volumeMounts']=[{'mountPath':'/'+m,'name':w()} for m in sub('xyz',1)]
    if R.random()<.3: c['resources']={'limits':{k:R.choice(['1','2']) for k in sub(['cpu','memory'],1)}}
    return c
def vol(n):
    return {'name':n, **R.choice([{'emptyDir':{}},{'emptyDir':{'medium':'Memory'}},{'configMap':{'name':w()}}])}
def pod():
    s={'containers':[cont(n) for n in sub(['one','two','three','four'],1,4)]}
    if R.random()<.6: s['volumes']=[vol(n) for n in sub('vwx',1)]
    if R.random()<.4: s['tolerations']=[{'key':k,'operator':'Exists'} for k in sub('kl',1)]
    if R.random()<.4: s['nodeSelector']={k:w() for k in sub('pq',1)}
    if R.random()<.4: s['imagePullSecrets']=[{'name':k} for k in sub('st',1)]
    m={'name':'p','namespace':'default'}
    if R.random()<.7: m['labels']={k:w() for k in sub('lmn',1)}
    if R.random()<.6: m['finalizers']=['x/'+k for k in sub('abcd',1,4)]
    if R.random()<.4: m['ownerReferences']=[{'apiVersion':'v1','kind':'K','name':w(),'uid':u} for u in sub(['u1','u2'],1)]
    return {'apiVersion':'v1','kind':'Pod','metadata':m,'spec':s,'status':{}}
def pcont(n):
    r=R.random()
    if r<.2: return {'name':n,'$patch':'delete'}
    c=cont(n,R.random()<.5)
    if R.random()<.2: c['image']=None
    if R.random()<.2: c['args']=None
    if 'env' in c and R.random()<.5: c['$setElementOrder/env']=[{'name':e['name']} for e in c['env']]+[{'name':x} for x in sub('DEF')]
    if 'env' in c and R.random()<.2: c['env'].append({'name':'Z','$patch':'delete'}); c.pop('$setElementOrder/env',None)
    if R.random()<.1: c={'name':n,'$patch':'replace',**c}
    return c
def patch(o):
    p={}
    m={};s={}
    if R.random()<.4:
        m['labels']={k:R.choice([w(),None]) for k in sub('lmn',1)}
        if 'labels' in o['metadata'] and R.random()<.3: m['labels']['$patch']='replace'
        elif R.random()<.2: m['labels']={'$patch':'delete'}
    if R.random()<.4:
        f=['x/'+k for k in sub('abcdef',1,4)]
        m['finalizers']=f
        if R.random()<.5: m['$setElementOrder/finalizers']=f+['x/'+k for k in sub('gabcdh') if 'x/'+k not in f]
    if R.random()<.3: m['$deleteFromPrimitiveList/finalizers']=['x/'+k for k in sub('abcd',1) if 'x/'+k not in m.get('finalizers',[])]
    if R.random()<.2: m['ownerReferences']=R.choice([None,[{'uid':'u1','$patch':'delete'}],[{'apiVersion':'v1','kind':'K','name':'n','uid':'u3'}]])
    if R.random()<.7:
        s['containers']=[pcont(n) for n in sub(['one','two','three','four','five'],1,3)]
        if R.random()<.5 and not any(c.get('$patch')=='delete' for c in s['containers']):
            o=[c['name'] for c in s['containers'] if c.get('$patch')!='delete']
            extra=[n for n in sub(['one','two','three','four']) if n not in o and n not in [c['name'] for c in s['containers']]]
            for e in extra: o.insert(R.randint(0,len(o)),e)
            s['$setElementOrder/containers']=[{'name':n} for n in o]
    elif R.random()<.4:
        s['$setElementOrder/containers']=[{'name':n} for n in sub(['one','two','three','four'],1,4)]
    if R.random()<.4:
        v=[]
        for n in sub('vwxy',1):
            x=vol(n)
            if R.random()<.5: x['$retainKeys']=list(x.keys())
            v.append(x)
        s['volumes']=v
    if R.random()<.2: s['tolerations']=[{'key':'z'}]
    if R.random()<.2: s['nodeSelector']=R.choice([None,{'p':None},{'q':'z'},{'r':'1'}])
    if R.random()<.2: s['imagePullSecrets']=[{'name':'u'},{'name':'s','$patch':'delete'}]
    if m: p['metadata']=m
    if s: p['spec']=s
    return p
def run(i,o,p):
    f='/tmp/o%d.json'%i; open(f,'w').write(json.dumps(o)); g='/tmp/p%d.json'%i; open(g,'w').write(json.dumps(p))
    r=subprocess.run([K,'patch','--local','-f',f,'--type','strategic','--patch-file',g,'-o','json'],capture_output=True,text=True,env={'HOME':'/tmp','KUBECONFIG':'/tmp/none'})
    os.remove(f);os.remove(g)
    if r.returncode==0: return {'object':o,'patch':p,'result':json.loads(r.stdout)}
    return {'object':o,'patch':p,'error':r.stderr.strip()}
cs=[]
for i in range(N):
    o=pod(); cs.append((i,o,patch(o)))
with ThreadPoolExecutor(2) as ex:
    for r in ex.map(lambda c:run(*c),cs): print(json.dumps(r,separators=(',',':')))
