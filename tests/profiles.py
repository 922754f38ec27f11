"""Colour profiles for tests, made from published numbers, and what they mean, computed without the library that is tested"""
import struct
import numpy as np

D50 = np.array([.9642, 1., .8249])   # ICC.1:2010, the white of the connection space
_bradford = np.array([[.8951, .2664, -.1614], [-.7502, 1.7135, .0367], [.0389, -.0685, 1.0296]])

# Primaries and white (x, y), and gamma; of sRGB the curve. IEC 61966-2-1; SMPTE EG 432-1 with the curve of sRGB (Display P3, Apple); Adobe RGB (1998), 2005; ISO 22028-2 (ROMM RGB, "ProPhoto")
spaces = {'sRGB': ([(.64, .33), (.30, .60), (.15, .06)], (.3127, .3290), 'srgb'),
          'Display P3': ([(.680, .320), (.265, .690), (.150, .060)], (.3127, .3290), 'srgb'),
          'Adobe RGB': ([(.64, .33), (.21, .71), (.15, .06)], (.3127, .3290), 563/256),
          'ProPhoto': ([(.7347, .2653), (.1596, .8404), (.0366, .0001)], (.3457, .3585), 1.8)}

def _xyz(x, y): return np.array([x/y, 1, (1-x-y)/y])

def to_xyz_d50(space):
    "The matrix from linear RGB to XYZ, adapted to D50 (Bradford; B. Lindbloom's formulae)"
    primaries, white, _ = spaces[space]
    columns = np.array([_xyz(*o) for o in primaries]).T
    matrix = columns*np.linalg.solve(columns, _xyz(*white))
    gain = np.diag((_bradford @ D50)/(_bradford @ _xyz(*white)))
    return np.linalg.inv(_bradford) @ gain @ _bradford @ matrix

def srgb_to_linear(v): return np.where(v <= .04045, v/12.92, ((v + .055)/1.055)**2.4)
def linear_to_srgb(v): return np.where(v <= .0031308, 12.92*v, 1.055*np.clip(v, 0, None)**(1/2.4) - .055)

def to_linear(space, values):
    "Numbers of a photo (0 to 255) as light"
    curve, values = spaces[space][2], np.asarray(values, float)/255
    return srgb_to_linear(values) if curve == 'srgb' else values**curve

def reference_srgb(space, values):
    "What pixels (…, 3) of `space` are in sRGB, 0 to 255, not rounded; colours that sRGB has not are cut off"
    xyz = to_linear(space, values) @ to_xyz_d50(space).T
    return 255*linear_to_srgb(np.clip(xyz @ np.linalg.inv(to_xyz_d50('sRGB')).T, 0, 1))

def to_lab(srgb):
    "CIELAB (D50) of sRGB pixels"
    xyz = srgb_to_linear(np.asarray(srgb, float)/255) @ to_xyz_d50('sRGB').T/D50
    f = np.where(xyz > (6/29)**3, np.cbrt(xyz), xyz/(3*(6/29)**2) + 4/29)
    return np.stack([116*f[..., 1] - 16, 500*(f[..., 0] - f[..., 1]), 200*(f[..., 1] - f[..., 2])], -1)

def delta_e(one, other):
    "Colour difference of sRGB pixels, CIE 1976"
    return np.linalg.norm(to_lab(one) - to_lab(other), axis=-1)


# --- the bytes of profiles

def _fixed(*values): return struct.pack(f'>{len(values)}i', *(round(o*65536) for o in values))
def _text(name): return b'desc\0\0\0\0' + struct.pack('>I', len(name) + 1) + name.encode() + b'\0' + bytes(78)

def _assemble(kind, space, connection, tags):
    tags = {b'desc': _text('made for tests'), b'cprt': b'text\0\0\0\0none\0', b'wtpt': b'XYZ \0\0\0\0' + _fixed(*D50)} | tags
    at, table, data = 128 + 4 + 12*len(tags), b'', b''
    for name,content in tags.items():
        table += name + struct.pack('>2I', at + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    size = at + len(data)
    head = struct.pack('>I4xI4s4s4s', size, 0x02400000, kind, space, connection) + bytes(12) + b'acsp' + bytes(28) + _fixed(*D50)
    return head.ljust(128, b'\0') + struct.pack('>I', len(tags)) + table + data

def matrix_profile(space):
    "A display profile (ICC version 2) of one of the `spaces`"
    matrix, curve = to_xyz_d50(space), spaces[space][2]
    if curve == 'srgb': points = np.round(65535*srgb_to_linear(np.linspace(0, 1, 1024))).astype('>u2').tobytes()
    trc = b'curv\0\0\0\0' + (struct.pack('>I', 1024) + points if curve == 'srgb' else struct.pack('>IH', 1, round(curve*256)))
    return _assemble(b'mntr', b'RGB ', b'XYZ ', {b'%cXYZ' % c: b'XYZ \0\0\0\0' + _fixed(*matrix[:, i]) for i,c in enumerate(b'rgb')} | {b'%cTRC' % c: trc for c in b'rgb'})

def grey_profile(gamma): return _assemble(b'mntr', b'GRAY', b'XYZ ', {b'kTRC': b'curv\0\0\0\0' + struct.pack('>IH', 1, round(gamma*256))})

_inks = np.array([(.10, .45, .80), (.80, .10, .45), (.95, .85, .08), (.08, .08, .08)])   # what cyan, magenta, yellow and black leave of the light

def ink_to_srgb(cmyk):
    "Colours of an invented print, 0 to 255: each ink takes its share of the light (Beer-Lambert), so paper with none is white"
    return 255*linear_to_srgb(np.prod(_inks**(np.asarray(cmyk, float)[..., None]/255), -2))

def print_profile(n=13):
    "A printer's profile (ICC version 2, `mft2` from inks to Lab) of `ink_to_srgb`"
    grid = np.stack(np.meshgrid(*[np.linspace(0, 255, n)]*4, indexing='ij'), -1)
    lab = to_lab(ink_to_srgb(grid))
    coded = np.stack([lab[..., 0]*65280/100, *(((lab[..., i] + 128)*256) for i in (1, 2))], -1)   # as version 2 codes Lab in 16 bit
    ramp = np.linspace(0, 65535, 2).astype('>u2').tobytes()
    table = b'mft2\0\0\0\0' + struct.pack('>4B', 4, 3, n, 0) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + struct.pack('>2H', 2, 2)
    table += ramp*4 + np.clip(np.round(coded), 0, 65535).astype('>u2').tobytes() + ramp*3
    return _assemble(b'prtr', b'CMYK', b'Lab ', {b'A2B0': table})
