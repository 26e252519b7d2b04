import math
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from espdeploy.networks.espnetv2 import Encoder, Features, Widths, widths
from espdeploy.networks.espnetv2_blocks import EESP, ConvNormAct, HalfSize, NormAct

def up(x, size=None):
    return F.interpolate(x, scale_factor=2.0 if size is None else None, size=size, mode="bilinear", align_corners=True)

class PoolingPyramid(nn.Module):
    def __init__(self, c, n=4):
        super().__init__()
        self.shrink=HalfSize()
        self.stages=nn.ModuleList(nn.Conv2d(c,c,3,padding=1,groups=c,bias=False) for _ in range(n))
        self.merge=ConvNormAct(c*(n+1),c,1)
    def forward(self,x):
        maps=[x]; small=x
        for st in self.stages:
            small=self.shrink(small)
            maps.append(up(st(small),x.shape[2:]))
        return self.merge(torch.cat(maps,1))

class PaperDecoder(nn.Module):
    def __init__(self, ch, classes):
        super().__init__()
        self.project4=ConvNormAct(ch.level4,ch.level3,1)
        self.mix3=EESP(2*ch.level3,ch.level3,reach=7)
        self.pyramid3=PoolingPyramid(ch.level3)
        self.scores3=nn.Conv2d(ch.level3,classes,1,bias=False)
        self.act3=NormAct(classes)
        self.mix2=ConvNormAct(ch.level2+classes,classes,1)
        self.mix1=nn.Conv2d(ch.level1+classes,classes,1,bias=False)
    def forward(self,f):
        l3=torch.cat([f.level3,up(self.project4(f.level4))],1)
        l3=self.act3(self.scores3(self.pyramid3(self.mix3(l3))))
        l2=self.mix2(torch.cat([f.level2,up(l3)],1))
        return up(self.mix1(torch.cat([f.level1,up(l2)],1)))

class EPP(nn.Module):
    def __init__(self,i,p,o,last=False):
        super().__init__()
        self.scales=(2.0,1.5,1.0,0.5,0.1)
        self.project=ConvNormAct(i,p,1)
        self.stages=nn.ModuleList(nn.Conv2d(p,p,3,padding=1,groups=p,bias=False) for _ in self.scales)
        self.norm_act=NormAct(5*p)
        self.merge=ConvNormAct(5*p,p,3,groups=p)
        self.expand=nn.Conv2d(p,o,1,bias=last)
        self.out=None if last else NormAct(o)
    def forward(self,x):
        x=self.project(x); h,w=map(int,x.shape[2:])
        maps=[]
        for s,st in zip(self.scales,self.stages):
            hs=max(5,math.ceil(h*s)); ws=max(5,math.ceil(w*s))
            if s<1: m=up(st(F.adaptive_avg_pool2d(x,(hs,ws))),(h,w))
            elif s>1: m=F.adaptive_avg_pool2d(st(up(x,(hs,ws))),(h,w))
            else: m=st(x)
            maps.append(m)
        y=torch.stack(maps,2).flatten(1,2) if False else torch.cat(maps,1)
        y=self.norm_act(y)
        y=y.unflatten(1,(5,-1)).transpose(1,2).flatten(1,2)
        y=self.expand(self.merge(y))
        return y if self.out is None else self.out(y)
class Gate(nn.Module):
    def __init__(self,i,o):
        super().__init__()
        self.pool=nn.AdaptiveAvgPool2d(1)
        self.weigh=nn.Conv2d(i,o,1,bias=False)
        self.expand=ConvNormAct(i,o,3,groups=math.gcd(i,o))
    def forward(self,x):
        return self.expand(x)*torch.sigmoid(self.weigh(self.pool(x)))
class EdgeNetsDecoder(nn.Module):
    def __init__(self,ch,classes):
        super().__init__()
        b=16; p=min(classes//2,b)
        self.pyramid4=EPP(ch.level4,p,4*b); self.pyramid3=EPP(4*b,p,3*b); self.pyramid2=EPP(3*b,p,2*b); self.pyramid1=EPP(2*b,p,classes,True)
        self.gate3=Gate(ch.level3,4*b); self.gate2=Gate(ch.level2,3*b); self.gate1=Gate(ch.level1,2*b)
        self.act3=NormAct(4*b); self.act2=NormAct(3*b); self.act1=NormAct(2*b)
    def forward(self,f):
        y=self.pyramid4(f.level4)
        y=self.pyramid3(self.act3(self.gate3(f.level3)+up(y)))
        y=self.pyramid2(self.act2(self.gate2(f.level2)+up(y)))
        y=self.pyramid1(self.act1(self.gate1(f.level1)+up(y)))
        return up(y)
class Seg(nn.Module):
    def __init__(self,scale,classes,head):
        super().__init__()
        ch=widths(scale)
        self.encoder=Encoder(ch)
        self.decoder=(PaperDecoder if head=='paper' else EdgeNetsDecoder)(ch,classes)
    def forward(self,x): return self.decoder(self.encoder(x))
