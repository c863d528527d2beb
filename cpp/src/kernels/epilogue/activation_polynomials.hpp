// Coefficients of exp and of the normal distribution, the highest power first.  Written by
// tools/activation_polynomials.py: change it there, and run it.  It says what they are.
// Included only by kernels.cpp, inside the namespace of one ISA.   Next: epilogue.hpp.
#pragma once

template <class T>
struct Polynomials;

template <>
struct Polynomials<float> {
    // Error: 2.0e-9.
    static constexpr float exp_polynomial[7] = {
        0.00139411084f, 0.0083751264f, 0.0416663529f, 0.166664155f, 0.500000005f, 1.00000004f, 1.0f,
    };
    // Error: 3.9e-9.
    static constexpr float erfc_polynomial[12] = {
        -0.000254988552f, 0.000365511727f, 0.00173347061f, -0.00978948002f, 0.0283695708f, -0.0586815636f,
        0.0923029341f,    -0.108805295f,   0.0822768757f,  0.00358545952f,  -0.140240603f, 1.23751263f,
    };
};

template <>
struct Polynomials<double> {
    // Error: 3.2e-18.
    static constexpr double exp_polynomial[12] = {
        2.5110037605963778e-8,
        2.763263963904103e-7,
        2.755724091857897e-6,
        2.4801485482328492e-5,
        0.00019841269890047114,
        0.0013888888952314775,
        0.0083333333333196006,
        0.041666666666488095,
        0.16666666666666681,
        0.50000000000000184,
        1.0,
        1.0,
    };
    // Error: 1.7e-17.
    static constexpr double erfc_polynomial[23] = {
        -2.5345220081597658e-9, -1.2326394490875057e-9, 3.2888438572773146e-8,  1.6940269362281982e-8,
        -2.5213246116656021e-7, -4.9197737918934415e-8, 1.7472879478286035e-6,  -9.7956099799584174e-7,
        -1.1442344708679575e-5, 2.2387063389949444e-5,  5.1648627266575507e-5,  -0.00029015493289668743,
        0.00029371374295995807, 0.0017556260158476966,  -0.0097465795658129625, 0.028362277400088418,
        -0.058693398589163408,  0.092304321161584303,   -0.10880393014176632,   0.082276738490109736,
        0.0035854154854647684,  -0.14024059858554666,   1.2375126308378276,
    };
};

inline constexpr double erfc_center = 3.75;
