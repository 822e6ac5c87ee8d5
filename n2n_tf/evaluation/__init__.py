"""How good a denoised image is: PSNR, SSIM and the paper's protocol."""
